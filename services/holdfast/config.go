package main

import "github.com/spf13/cobra"

func (p *program) configCommand() *cobra.Command {
	return &cobra.Command{Use: "config", Short: "Check and explain a node's configuration"}
}
