package trial_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/trial"
)

var errSlow = errors.New("slow as a snail")

func TestRunRepeatsALateTest(t *testing.T) {
	t.Parallel()
	for _, late := range []int{0, 1, 2} {
		var did []string
		trial.Run(t, func(t *trial.T) {
			ctx, n := t.Context(), len(did)/3
			t.Cleanup(func() { did = append(did, "second", ctx.Err().Error()) })
			t.Cleanup(func() { did = append(did, "first") })
			if n < late {
				t.Late(errSlow)
			}
		})
		if want := slices.Repeat([]string{"first", "second", "context canceled"}, late+1); !slices.Equal(did, want) {
			t.Errorf("late %d times: the functions of Cleanup did %q, want %q", late, did, want)
		}
	}
}

// The test binary runs itself, because the failing tests must not fail this one.
func TestRunFailsIfEachRunIsLateOrOneFails(t *testing.T) {
	t.Parallel()
	for how, says := range map[string]string{
		"late":  "too late in each of 3 runs, the last time: slow as a snail",
		"fatal": "a real fault",
		"panic": "panic: a real panic",
	} {
		c := exec.Command(os.Args[0], "-test.run=^TestFailing$")
		c.Env = append(os.Environ(), "TRIAL_FAILING="+how)
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: error %v, want a failure with %q:\n%s", how, err, says, out)
		}
		if n, want := strings.Count(string(out), "a run ends"), map[string]int{"late": 3}[how]; how == "late" && n != want || how != "late" && n != 1 {
			t.Errorf("%s: %d runs ended:\n%s", how, n, out)
		}
	}
}

func TestFailing(t *testing.T) {
	how := os.Getenv("TRIAL_FAILING")
	if how == "" {
		t.Skip("TestRunFailsIfEachRunIsLateOrOneFails runs this test")
	}
	trial.Run(t, func(t *trial.T) {
		t.Cleanup(func() { t.Log("a run ends") })
		switch how {
		case "late":
			t.Late(errSlow)
		case "fatal":
			t.Fatal("a real fault")
		case "panic":
			panic("a real panic")
		}
	})
}
