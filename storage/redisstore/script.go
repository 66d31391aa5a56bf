package redisstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strconv"

	"github.com/redis/rueidis"
)

// A script is a Lua script that runs many times in one pipeline. It returns a
// number.
//
// [rueidis.Lua.ExecMulti] does the same, but first sends SCRIPT LOAD to every
// node. So it would need one more right, and fail if a replica is down.
type script struct{ text, sha1 string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

// exec runs the script once for each element of runs, and returns the sum of
// the results and the first error. After an error, it still adds the results of
// the other runs.
func (c *script) exec(ctx context.Context, client rueidis.CoreClient, runs []rueidis.LuaExec) (sum int64, err error) {
	var unknown []rueidis.LuaExec // the runs on servers that do not have the script
	add := func(answer rueidis.RedisResult) error {
		n, failed := answer.AsInt64()
		sum += n
		return failed
	}
	for i, answer := range client.DoMulti(ctx, commands(client, "EVALSHA", c.sha1, runs)...) {
		failed := add(answer)
		if e, ok := rueidis.IsRedisErr(failed); ok && e.IsNoScript() {
			unknown = append(unknown, runs[i])
		} else if err == nil {
			err = failed
		}
	}
	for _, answer := range client.DoMulti(ctx, commands(client, "EVAL", c.text, unknown)...) {
		if failed := add(answer); err == nil {
			err = failed
		}
	}
	return sum, err
}

func commands(client rueidis.CoreClient, name, script string, runs []rueidis.LuaExec) rueidis.Commands {
	commands := make(rueidis.Commands, len(runs))
	for i, run := range runs {
		commands[i] = client.B().Arbitrary(name, script, strconv.Itoa(len(run.Keys))).Keys(run.Keys...).Args(run.Args...).Build()
	}
	return commands
}
