package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast/kernel/store"
)

// TestTheCopyOfTheNamesIsTheNewest: of names that are given at the same time each is in the copy.
func TestTheCopyOfTheNamesIsTheNewest(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Update(func(tx *store.Tx) (err error) { // so many that reading them takes a while
		for n := range 400 {
			_, _, bad := tx.ID(store.SetName, fmt.Sprint("old-", n))
			err = errors.Join(err, bad)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 4, 12
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range each {
				name := fmt.Sprintf("set-%d-%d", w, n)
				err := s.Update(func(tx *store.Tx) error {
					_, _, err := tx.ID(store.SetName, name)
					return err
				})
				if err != nil {
					t.Error(err)
				}
				wants(t, dir, name)
			}
		})
	}
	wg.Wait()
}

// wants checks that a name is in the copy.
func wants(t *testing.T, dir, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "NAMES"))
	if err != nil {
		t.Error(err)
	} else if !strings.Contains(string(text), `"`+name+`"`) {
		t.Errorf("the copy lacks %s", name)
	}
}
