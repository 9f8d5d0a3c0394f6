// Package arch holds the rules that keep the repository's structure true.
package arch
