package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// jars is the folder of Java libraries on Debian.
const jars = "/usr/share/java"

// apacheHTTP signs in with a version of Apache HttpClient.
func apacheHTTP(version, way string) func(*testing.T, target) seen {
	libraries := map[string][]string{
		"4": {"httpclient.jar", "httpcore.jar", "commons-logging.jar", "commons-codec.jar"},
		"5": {"httpclient5.jar", "httpcore5.jar", "httpcore5-h2.jar", "slf4j-api.jar"},
	}[version]
	return func(t *testing.T, at target) (got seen) {
		t.Helper()
		_, err := exec.LookPath("javac")
		var classPath []string
		for _, library := range libraries {
			path := filepath.Join(jars, library)
			if _, missing := os.Stat(path); missing != nil {
				err = missing
			}
			classPath = append(classPath, path)
		}
		if err != nil {
			throwaway.Need(t, "java", errors.New("needs Java and Apache HttpClient; to get them: apt-get install default-jdk-headless libhttpclient-java libhttpclient5-java"))
		}
		out := run(t, at, nil, "java", "-cp", strings.Join(classPath, ":"), "ApacheHttpClient"+version+".java", way)
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("the client printed no report: %v", err)
		}
		return got
	}
}
