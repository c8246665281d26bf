package tour

import (
	"fmt"
	"path/filepath"
	"strings"

	"holdfast/base/disk"
)

// Rules is the rule file of the tour, in the data directory.
const Rules = "rules.yaml"

// ruleText are about the tour's own jobs and feed.
const ruleText = `# The rules of the tour. Change them, and: holdfast reload --data-dir DIR
rules:
  - name: outages
    why: a person should see which job waits for what
    from: {holdfast: {kinds: [gate.closed]}}
    key: [job]
    do: [{run: [/bin/echo, an outage of, "{{job}}"]}]
    cooldown: 1m
    tests:
      - {lines: ["source: connection refused"], fields: {_JOB: spots}, repeat: 2, expect: {runs: 1, suppressed: 1, actions: [/bin/echo an outage of spots]}}

  - name: checkpoint-at-an-outage
    why: what was taken in until an outage is worth a checkpoint
    from: {holdfast: {job: spots, kinds: [gate.closed]}}
    do: [{holdfast: checkpoint, job: spots}]
    cooldown: 10m
    tests:
      - {lines: ["source: connection refused"], repeat: 2, expect: {runs: 1, suppressed: 1}}

  - name: feed-page
    why: the page with the switches of the feed should be there
    from: {http: {url: "FEED"}, every: 5s}
    state: {on: value == 200, off: value != 200, no_data: 30s}
    on_change: [{run: [/bin/echo, the page of the feed is, "{{state}}"], initial: true}]
    tests:
      - {values: ["200", "200", "0", "200"], expect: {runs: 3}}
`

// writeRules writes them anew: the feed has another address each time.
func writeRules(dir, feed string) error {
	text := strings.ReplaceAll(strings.ReplaceAll(ruleText, "FEED", feed), "DIR", dir)
	if err := disk.WriteFile(filepath.Join(dir, Rules), []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the rules of the tour: %w", err)
	}
	return nil
}
