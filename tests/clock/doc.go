// Package clock tests timed against a real kernel's clock, in a machine of its own.
package clock
