package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sweeping bounds how long processes are killed that start new ones meanwhile.
const sweeping = 5 * time.Second

// Sweep kills every process that has, or inherited, a mark with this prefix, and returns the most that were seen at a time.
// It returns when none is left, or with an error if some don't end. Only root finds processes of other users.
func Sweep(prefix string) (killed int, err error) {
	if prefix == "" {
		return 0, nil
	}
	defer sweepGroups()
	for end := time.Now().Add(sweeping); ; {
		pids, err := marked(func(int) bool { return true }, func(m string) bool { return strings.HasPrefix(m, prefix) })
		killed = max(killed, len(pids))
		if err != nil || len(pids) == 0 {
			return killed, err
		}
		if time.Now().After(end) {
			return killed, stubborn(pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond) // until they are gone
	}
}

// marked returns the living processes whose number look accepts and whose mark is accepts.
func marked(look func(pid int) bool, is func(mark string) bool) (pids []int, err error) {
	procs, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	defer procs.Close()
	names, err := procs.Readdirnames(-1)
	for _, name := range names {
		pid, bad := strconv.Atoi(name)
		if bad != nil || pid == os.Getpid() || !look(pid) {
			continue
		}
		if m, marked := markOf(pid); marked && is(m) {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// markOf returns the mark of a process; false if it has none, or is dead.
func markOf(pid int) (string, bool) {
	env, gone := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ") // of one that is dead and not waited for it is empty
	if gone != nil {
		return "", false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if m, ok := bytes.CutPrefix(v, []byte(markName+"=")); ok {
			return string(m), true
		}
	}
	return "", false
}

// MarkOf returns the mark of a living process; "" if it has none.
func MarkOf(pid int) string {
	m, _ := markOf(pid)
	return m
}
