package testenv

import (
	"crypto/sha256"
	_ "embed" // package-lock.json
	"fmt"
	"os"
	"path/filepath"
)

//go:embed package-lock.json
var npmLock []byte

// npmPackage is where scripts/deps.sh has put an npm package that package-lock.json pins, or a file of one.
func npmPackage(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "holdfast-test", fmt.Sprintf("npm-%x", sha256.Sum256(npmLock))[:20], "node_modules", name)
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}
