// Package supervise tests PID 1 as a supervisor of services good and bad, in small machines of package bed.
package supervise
