//go:build !race

package operator

const raceDetector = false
