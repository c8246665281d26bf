package checkpoint_test

// The test binary is its own second process, to be killed: with childVar set it runs one of these on
// the directory in childDir.
const (
	childVar = "HOLDFAST_TEST_CHILD"
	childDir = "HOLDFAST_TEST_DIR"
)

var children = map[string]func(dir string){}
