// Package soak says how far the tests go whose counts can be raised: a short form for every day, a long one for "make soak".
package soak

import "os"

// Variable is the environment variable that asks for the long form.
const Variable = "HOLDFAST_SOAK"

// Long tells whether the long form is asked for.
func Long() bool { return os.Getenv(Variable) != "" }

// Count is how often a test does what it does.
func Count(short, long int) int {
	if Long() {
		return long
	}
	return short
}
