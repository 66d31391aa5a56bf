package throwaway

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// glob is [filepath.Glob]. Tests replace it to hide the installed servers.
var glob = filepath.Glob

// find returns the path of the first of the programs that is installed. It
// searches for each program in PATH, and then in the folders that match the
// patterns in places.
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

var number = regexp.MustCompile(`[0-9]+`)

// newest returns the folders that match a pattern, highest version first.
func newest(pattern string) []string {
	folders, _ := glob(pattern)
	slices.SortStableFunc(folders, func(a, b string) int { return slices.Compare(version(b), version(a)) })
	return folders
}

// version returns all numbers in a path. Callers compare them as numbers, so
// that version 10.11 is newer than 10.6.
func version(path string) (numbers []int) {
	for _, text := range number.FindAllString(path, -1) {
		n, _ := strconv.Atoi(text)
		numbers = append(numbers, n)
	}
	return numbers
}

func executable(path string) bool {
	_, err := exec.LookPath(path)
	return err == nil
}
