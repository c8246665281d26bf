package connector

import "slices"

// YieldKeys is SinkReader.Keys for one that has the keys in memory: it sorts them, and calls yield for each with the
// number of times that it is there.
func YieldKeys(keys []uint64, yield func(key, rows uint64) error) error {
	slices.Sort(keys)
	for i := 0; i < len(keys); {
		next := i + 1
		for next < len(keys) && keys[next] == keys[i] {
			next++
		}
		if err := yield(keys[i], uint64(next-i)); err != nil {
			return err
		}
		i = next
	}
	return nil
}
