package throwaway

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// glob is filepath.Glob, but for the tests of what happens when nothing is
// installed.
var glob = filepath.Glob

// find returns the first program there is: by its name in PATH, else in the
// places, which are patterns of folders.
func find(programs []string, places ...string) (string, bool) {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path, true
		}
		for _, place := range places {
			for _, folder := range newest(place) {
				if path := filepath.Join(folder, program); executable(path) {
					return path, true
				}
			}
		}
	}
	return "", false
}

var version = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// newest returns the folders that match a pattern, highest version first.
func newest(pattern string) []string {
	folders, _ := glob(pattern)
	slices.SortStableFunc(folders, func(a, b string) int {
		v, _ := strconv.ParseFloat(version.FindString(a), 64)
		w, _ := strconv.ParseFloat(version.FindString(b), 64)
		return int(w*100) - int(v*100)
	})
	return folders
}

func executable(path string) bool {
	_, err := exec.LookPath(path)
	return err == nil
}
