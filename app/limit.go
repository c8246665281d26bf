package app

import (
	"fmt"
	"strings"
	"time"

	"holdfast/job/transfer"
)

// parseLimit reads what may go out: a rate (20MB a second), or times of day with the rates that hold from them on, as rclone
// takes them: "08:00,2MB 18:00,20MB 23:00,off". off bounds nothing, and with pause nothing goes out.
func parseLimit(text string) (made transfer.Limit, err error) {
	words := strings.Fields(text)
	for _, word := range words {
		at, size, timed := strings.Cut(word, ",")
		if !timed {
			at, size = "00:00", word
			if len(words) > 1 {
				return nil, fmt.Errorf("want times with rates, such as 08:00,2MB, got %q", word)
			}
		}
		c, err := changeOf(at, size)
		if err != nil {
			return nil, err
		}
		if n := len(made); n > 0 && made[n-1].At >= c.At {
			return nil, fmt.Errorf("%s is not behind the time before it", at)
		}
		made = append(made, c)
	}
	return made, nil
}

func changeOf(at, size string) (c transfer.Change, err error) {
	t, err := time.Parse("15:04", at)
	if err != nil {
		return c, fmt.Errorf("want a time of day such as 08:00, got %q", at)
	}
	c.At = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	switch size {
	case "off":
		c.Rate = transfer.Unlimited
		return c, nil
	case "pause":
		c.Rate = transfer.Paused
		return c, nil
	}
	n, err := parseBytes(strings.TrimSuffix(size, "/s"))
	if err != nil || n < 1 {
		return c, fmt.Errorf("want bytes a second such as 2MB, off or pause, got %q", size)
	}
	c.Rate = int64(n)
	return c, nil
}
