package crash

func runInSmallRoom(orders) int { return 2 }
