package ingester

import (
	"fmt"
	"strings"
	"time"

	"holdfast/base/plural"
	"holdfast/kernel/balance"
	"holdfast/kernel/store"
)

// giveUp declares what is missing of a window lost, in the books too, and says so for a person.
func (b *book) giveUp(tx *store.Tx, w *window, why string, now time.Time) (text string, err error) {
	w.giveUp(why, now)
	if err := b.lose(tx, w, now); err != nil {
		return "", err
	}
	b.put(tx, w)
	b.look = b.look || w.waits()
	if w.Unmade {
		return fmt.Sprintf("%s is lost, and nobody knows what is in it: %s", w.name(), why), nil
	}
	return fmt.Sprintf("%s lacks %s, %s as far as is known: %s", w.name(), spans(w.lacks()), plural.Of(w.Lost, "row"), why), nil
}

// lose puts the rows of a window that are lost into the books as a gap, which begins at the window's number.
func (b *book) lose(tx *store.Tx, w *window, now time.Time) error {
	_, missing := w.rows()
	if missing <= w.Lost {
		return nil
	}
	source, _, err := tx.ID(store.SourceName, b.source)
	if err != nil {
		return err
	}
	rows := missing - w.Lost
	w.Lost = missing
	return balance.PutGap(tx, balance.Gap{Source: source, From: w.Number, To: w.Number, Missing: uint64(rows),
		Cause: balance.Hole, State: balance.GapLost, Found: now, Next: now, Note: fmt.Sprintf("%s lacks %s: %s",
			w.name(), spans(w.lacks()), w.Because)})
}

// found subtracts rows that came after all from what is lost.
func (b *book) found(tx *store.Tx, w *window) error {
	_, missing := w.rows()
	if w.Lost <= missing {
		return nil
	}
	source, _, err := tx.ID(store.SourceName, b.source)
	if err != nil {
		return err
	}
	came := w.Lost - missing
	w.Lost = missing
	return balance.Recover(tx, source, w.Number, 0, uint64(came))
}

// name is the name of the window for people.
func (w *window) name() string {
	if w.Unmade {
		return fmt.Sprintf("window %v", w.windowID)
	}
	return fmt.Sprintf("window %s (%s)", w.From.UTC().Format("2006-01-02 15:04"), w.Key)
}

// spans writes ascending numbers for people: batches 0-2, 7.
func spans(numbers []int) string {
	if len(numbers) == 0 {
		return "no batch"
	}
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(numbers[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[j]))
		}
		i = j + 1
	}
	word := "batches"
	if len(numbers) == 1 {
		word = "batch"
	}
	return word + " " + strings.Join(parts, ", ")
}
