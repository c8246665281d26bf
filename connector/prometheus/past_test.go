package prometheus

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"testing"
	"time"

	"holdfast/connector"
)

// TestPast: the looks that would have been, whatever is absent in some of them, in more than one answer.
func TestPast(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_ = r.ParseForm()
		from, _ := strconv.ParseFloat(r.Form.Get("start"), 64)
		to, _ := strconv.ParseFloat(r.Form.Get("end"), 64)
		step, _ := strconv.ParseFloat(r.Form.Get("step"), 64)
		if r.URL.Path != "/api/v1/query_range" || step != 10 {
			t.Errorf("%s, step %v", r.URL.Path, step)
		}
		values := ""
		for i, at := 0, from; at <= to; i, at = i+1, at+step {
			if i%2 == 1 { // each second one is absent
				continue
			}
			if values != "" {
				values += ","
			}
			values += fmt.Sprintf(`[%.3f,"%d"]`, at, i)
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"x"},"values":[%s]}]}}`, values)
	}))
	defer s.Close()
	q, err := New(Config{URL: s.URL, Query: "x", Every: 10 * time.Second})
	must(t, err)
	since := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	var looks []string
	last := time.Time{}
	must(t, q.Past(t.Context(), since, func(_ context.Context, seen connector.Seen) error {
		e := seen.Events[0]
		if e.Kind != connector.EventLook || !last.IsZero() && e.Time.Sub(last) != 10*time.Second {
			t.Errorf("a look of %v behind one of %v", e.Time, last)
		}
		last = e.Time
		look := "absent"
		if len(e.Samples) == 1 {
			look = fmt.Sprint(e.Samples[0].Value)
		}
		looks = append(looks, look)
		return nil
	}))
	if len(looks) < 1080 || len(looks) > 1082 || !reflect.DeepEqual(looks[:4], []string{"0", "absent", "2", "absent"}) || asked != 2 {
		t.Errorf("%d looks in %d answers, of which the first are %v", len(looks), asked, looks[:4])
	}
}
