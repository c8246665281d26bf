// Package lapse writes lengths of time as people say them.
package lapse

import (
	"fmt"
	"time"
)

// Words is a length of time in its largest unit: 5 s, 3 min, 7 h, 4 days.
func Words(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
