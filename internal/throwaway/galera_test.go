package throwaway

import (
	"database/sql"
	"errors"
	"os"
	"testing"
)

// Each node has the data that were written to the others. It rejoins after Stop
// and after Kill.
func TestGaleraNodesShareTheirData(t *testing.T) {
	t.Parallel()
	var dirs []string
	t.Run("while its test runs", func(t *testing.T) {
		nodes := StartGalera(t, clusterSize())
		var dbs []*sql.DB
		for _, s := range nodes {
			dirs = append(dirs, s.supervisor.dir)
			dbs = append(dbs, kinds[1].open(t, s.DSN()+"?wsrep_sync_wait=7"))
		}
		do(t, dbs[0], "CREATE TABLE things (id INTEGER PRIMARY KEY)")
		sum := 0
		add := func(db *sql.DB) {
			t.Helper()
			do(t, db, "INSERT INTO things SELECT 1 + coalesce(sum(id), 0) FROM things")
			sum = 2*sum + 1
		}
		same := func() {
			t.Helper()
			for i, db := range dbs {
				if got := get[int](t, db, "SELECT sum(id) FROM things"); got != sum {
					t.Errorf("the sum on node %d is %d, want %d", i, got, sum)
				}
			}
		}
		for _, db := range dbs {
			add(db)
			same()
		}
		nodes[0].Stop(t)
		add(dbs[1])
		nodes[0].Start(t)
		same()
		if Long() {
			nodes[0].Kill(t)
			add(dbs[1])
			nodes[0].Start(t)
			same()
		}
	})
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after its test the folder %s still exists: %v", dir, err)
		}
	}
}

// clusterSize returns three if the test kills a node, so that the others have a
// majority.
func clusterSize() int {
	if Long() {
		return 3
	}
	return 2
}
