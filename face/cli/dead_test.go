package cli

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"holdfast/app/desk"
	"holdfast/face/api"
)

// An order about all dead letters names each of them once, and tells of the first failures alone.
func TestAllDeadLetters(t *testing.T) {
	const letters = 2500
	a := asked{client: api.Local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		after, _ := strconv.ParseUint(r.FormValue("after"), 10, 64)
		most, _ := strconv.ParseUint(r.FormValue("max"), 10, 64)
		out := deadList{Dead: []desk.DeadLetter{}}
		for id := after + 1; id <= min(after+most, letters); id++ {
			out.Dead = append(out.Dead, desk.DeadLetter{ID: id})
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = json.NewEncoder(w).Encode(map[string]any{"result": out})
	}))}
	ids, err := a.letterIDs(t.Context(), "spots")
	if err != nil || len(ids) != letters || ids[0] != "1" || ids[letters-1] != strconv.Itoa(letters) {
		t.Fatalf("got %d letters, %v", len(ids), err)
	}
	done, err := a.eachLetter(t.Context(), "spots", "retry", "", ids[:100])
	if lines := strings.Split(err.Error(), "\n"); done != 0 || len(lines) != maxTold+1 || lines[maxTold] != "80 more failed" {
		t.Errorf("%d done, and %d lines are told:\n%v", done, len(lines), err)
	}
}
