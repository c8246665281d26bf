package crash

const childEnv = "HOLDFAST_CRASH_CHILD"

func runChild(string) int { return 2 }
