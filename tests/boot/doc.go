// Package boot tests what a node does from power-on to a serving pod, and that it refuses what it must refuse.
package boot
