//go:build race

package operator

const raceDetector = true
