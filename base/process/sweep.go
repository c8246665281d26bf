package process

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"holdfast/base/fault"
)

// sweeping is how long Sweep looks for what starts others while it is looked for.
const sweeping = 5 * time.Second

// Sweep kills every process that has one of the marks, or inherited it. It returns when none is left, or with an error if some don't
// go. Of processes of other users it knows nothing, unless it runs as root.
func Sweep(marks ...string) error {
	if len(marks) == 0 {
		return nil
	}
	for end := time.Now().Add(sweeping); ; {
		pids, err := marked(marks)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fault.New(fault.Transient, "processes %v don't end, though they were killed", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond) // until they are gone
	}
}

// marked are the processes that have a mark, and live.
func marked(marks []string) (pids []int, err error) {
	procs, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	defer procs.Close()
	names, err := procs.Readdirnames(-1)
	for _, name := range names {
		pid, bad := strconv.Atoi(name)
		if bad != nil || pid == os.Getpid() {
			continue
		}
		env, gone := os.ReadFile("/proc/" + name + "/environ") // of one that is dead and not waited for it is empty
		if gone != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if m, ok := bytes.CutPrefix(v, []byte(markName+"=")); ok && slices.Contains(marks, string(m)) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, err
}
