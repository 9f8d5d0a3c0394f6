// Package supervise runs services: a pure state machine for each, and one loop that carries out what the machines say.
package supervise
