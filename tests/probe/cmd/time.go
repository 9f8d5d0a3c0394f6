package main

import (
	"fmt"
	"net/url"
	"time"

	"holdfast/services/timed/ntp"
	"holdfast/services/timed/ntptest"
)

// tellTime starts a server that runs as long as the program.
func tellTime(v url.Values) (any, error) {
	ahead, err := time.ParseDuration(v.Get("ahead"))
	if err != nil {
		return nil, err
	}
	began := time.Now() // what passes since is read from the monotonic clock
	_, err = ntptest.Listen(fmt.Sprintf("127.0.0.1:%d", ntp.Port), ntptest.Behaviour{
		Now: func() time.Time { return began.Add(ahead + time.Since(began)) },
	})
	return none{}, err
}
