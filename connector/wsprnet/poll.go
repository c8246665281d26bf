package wsprnet

import (
	"slices"
	"strings"
	"time"
)

// etiquette is how long wsprnet.org asks everybody to wait before the same query.
const etiquette = 120 * time.Second

// nextPoll returns when a feed that was last polled at last is to be polled again. Without a loop
// it is 120 s later, moved out of even minutes, when everybody uploads. A loop is taken as it is,
// except for wsprnet.org itself: there it is never less than 120 s, nor in an even minute.
func nextPoll(last time.Time, host string, loop time.Duration) time.Time {
	polite := isWsprnet(host)
	wait := loop
	if loop <= 0 || polite && loop < etiquette {
		wait = etiquette
	}
	next := last.Add(wait)
	if (loop <= 0 || polite) && next.UTC().Minute()%2 == 0 {
		next = next.Truncate(time.Minute).Add(time.Minute + time.Duration(next.Second())*time.Second)
	}
	return next
}

// isWsprnet tells the feed itself, whose etiquette holds, from a copy or a simulator.
func isWsprnet(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "wsprnet.org" || strings.HasSuffix(host, ".wsprnet.org")
}

// sorted orders errors by their text, so that messages come in the same order every time.
func sorted(errs []error) []error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}
