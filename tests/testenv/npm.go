package testenv

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// npmPackage is where scripts/deps.sh has put an npm package that package-lock.json pins, or a file of one.
func npmPackage(name string) (string, error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the source directory is unknown")
	}
	lock, err := os.ReadFile(filepath.Join(filepath.Dir(here), "package-lock.json"))
	if err != nil {
		return "", fmt.Errorf("read lock file: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "holdfast-test", fmt.Sprintf("npm-%x", sha256.Sum256(lock))[:20], "node_modules", name)
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}
