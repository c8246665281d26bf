package rule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Words are what a rule says, for a table: what triggers it, on which condition, and what it does then.
type Words struct {
	Trigger   string `json:"trigger"`
	Condition string `json:"condition"`
	Action    string `json:"action"`
}

// Words says a rule in words.
func (r *Rule) Words() Words {
	return Words{r.triggerWords(), r.conditionWords(), r.actionWords()}
}

func (r *Rule) triggerWords() string {
	text := r.From.Title
	if r.From.kind.Polled {
		text += " every " + length(r.From.Every)
	}
	return text + aboutWords(r.Match, r.Where)
}

// aboutWords says which lines or values are meant.
func aboutWords(match, where string) (text string) {
	if match != "" {
		text += " ~ '" + match + "'"
	}
	if where != "" {
		text += " where " + where
	}
	return text
}

func (r *Rule) conditionWords() string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	switch {
	case r.State != nil:
		text := fmt.Sprintf("changes between on (%s) and off (%s)", r.State.On, r.State.Off)
		if r.State.NoData > 0 {
			text += ", no data after " + length(r.State.NoData)
		}
		add("%s", text)
	default:
		add("%s", r.When.words())
	}
	if len(r.Key) > 0 {
		add("for each %s", strings.Join(r.Key, ", "))
	}
	if c := r.Cooldown; c.For > 0 {
		text := "cooldown " + length(c.For)
		if c.Trailing {
			text += ", made up for at its end"
		}
		add("%s", text)
	}
	if r.Limit != nil {
		add("%s", r.Limit.words())
	}
	if r.StaleAfter > 0 {
		add("not older than %s", length(r.StaleAfter))
	}
	return strings.Join(all, "; ")
}

func (l *Limit) words() string {
	text := fmt.Sprintf("at most %d within %s", l.Max, length(l.Within))
	if l.Then != "" {
		text += ", then " + l.Then + " is told"
	}
	return text
}

func (w *When) words() string {
	var text string
	switch {
	case w.Count == 1:
		text = "each"
	case w.Count > 1:
		text = fmt.Sprintf("%d within %s", w.Count, length(w.Within))
	case w.Then != nil:
		text = fmt.Sprintf("followed within %s by %s", length(w.Within), w.Then.words())
	case w.Without != nil:
		text = fmt.Sprintf("not followed within %s by %s", length(w.Within), w.Without.words())
	case w.Above != nil:
		text = "above " + number(*w.Above)
	case w.Below != nil:
		text = "below " + number(*w.Below)
	case w.Change:
		text = "changes"
	case w.State != nil:
		text = "is " + strings.Join(w.State, " or ")
	case w.NoData > 0:
		text = "nothing for " + length(w.NoData)
	default:
		text = "holds"
	}
	if w.Until != nil {
		text += ", until it is back at " + number(*w.Until)
	}
	if w.For > 0 {
		text += " for " + length(w.For)
	}
	if w.Initial {
		text += ", the first one seen too"
	}
	return text
}

func (f *Follow) words() string {
	text := strings.TrimPrefix(aboutWords(f.Match, f.Where), " ")
	if f.From != nil {
		text = f.From.Title + " " + text
	}
	return text
}

func (r *Rule) actionWords() string {
	var all []string
	for _, l := range r.Lists() {
		if len(l.Actions) == 0 {
			continue
		}
		words := make([]string, len(l.Actions))
		for i := range l.Actions {
			words[i] = l.Actions[i].words()
		}
		text := strings.Join(words, ", then ")
		if l.Name != "do" {
			text = l.Name + ": " + text
		}
		all = append(all, text)
	}
	if h := r.Heal; h != nil {
		text := "heals if" + aboutWords(h.Expect, h.Where)
		if h.From != nil {
			text += " in " + h.From.Title
		}
		text += " is seen within " + length(h.Within)
		if h.Then != "" {
			text += ", else at the end " + h.Then + " is told"
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

// words are those of Call.Words, with what is not known yet as it is written in the file.
func (a *Action) words() string {
	c := Call{Systemctl: a.Systemctl, Signal: a.Signal, Unit: a.Unit, Run: a.Run, Notify: a.Notify, Set: a.Set, Value: a.Value,
		Holdfast: a.Holdfast, Job: a.Job}
	if a.HTTP != nil {
		c.HTTP = &Request{Method: orPost(a.HTTP.Method), Body: a.HTTP.URL.String()}
	}
	return strings.TrimSpace(c.Words())
}

func orPost(method string) string {
	if method == "" {
		return "POST"
	}
	return method
}

// length writes a time without its zero parts: 1h, and not 1h0m0s.
func length(d time.Duration) string {
	if d > 0 && d%(24*time.Hour) == 0 {
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}
