package redisstore

import (
	"fmt"
	"strings"
	"testing"
)

const (
	goodInfo = "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_known_nodes:4\r\n"
	aaaa     = "aaaa 10.0.0.1:6379@16379,host1 %smaster - 0 1700000000000 1 connected 0-8191%s\n"
	bbbb     = "bbbb 10.0.0.2:6379@16379 %smaster - 0 1700000000000 2 connected 8192-16382 16383%s\n"
	cccc     = "cccc 10.0.0.3:6379@16379 slave aaaa 0 1700000000000 1 connected\n"
	dddd     = "dddd 10.0.0.4:6379@16379 master - 0 1700000000000 0 connected\n" // has no slots yet
)

func node(line string, myself bool, slots string) string {
	flag := ""
	if myself {
		flag = "myself,"
	}
	return fmt.Sprintf(line, flag, slots)
}

func TestCompleteNeedsAllMastersWithSlots(t *testing.T) {
	t.Parallel()
	a := node(aaaa, true, "") + node(bbbb, false, "") + cccc + dddd
	b := node(aaaa, false, "") + node(bbbb, true, "") + cccc
	for _, test := range []struct {
		name  string
		infos string
		nodes []string
		says  string // a part of the expected error; empty for none
	}{
		{"all masters that have keys", goodInfo, []string{a, b}, ""},
		{"a master is missing", goodInfo, []string{a}, "bbbb"},
		{"a master is new", goodInfo, []string{a, b + "eeee 10.0.0.5:6379@16379 master - 0 1700000000000 3 connected 1\n"}, "eeee"},
		{"keys move to a known master", goodInfo, []string{node(aaaa, true, " [93->-bbbb]") + node(bbbb, false, ""), b}, ""},
		{"keys come from a known master", goodInfo, []string{a, node(aaaa, false, "") + node(bbbb, true, " [93-<-aaaa]")}, ""},
		{"keys move to a new master", goodInfo, []string{node(aaaa, true, " [93->-dddd]") + node(bbbb, false, "") + dddd, b}, "dddd"},
		{"a replica replaced a master", goodInfo, []string{
			strings.Replace(a, "slave aaaa", "master -", 1), b + "cccc 10.0.0.3:6379@16379 master - 0 1700000000000 4 connected 0-8191\n",
		}, "cccc"},
		{"the cluster is down", strings.Replace(goodInfo, "state:ok", "state:fail", 1), []string{a, b}, "cluster_state:ok"},
		{"some slots have no owner", strings.Replace(goodInfo, "16384", "1638", 1), []string{a, b}, "cluster_slots_assigned:16384"},
		{"no text", "", []string{"", ""}, "cluster_state:ok"},
		{"no nodes", goodInfo, []string{"", ""}, "myself"},
		{"another text", goodInfo, []string{"hello\n", ""}, "hello"},
	} {
		var views []*view
		var err error
		for _, nodes := range test.nodes {
			var v *view
			if v, err = newView(test.infos, nodes); err != nil {
				break
			}
			views = append(views, v)
		}
		if err == nil {
			err = complete(views)
		}
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: got error %v, want one with %q", test.name, err, test.says)
		}
	}
	if err := complete([]*view{nil}); err != nil {
		t.Errorf("a single server: %v", err)
	}
	if err := complete([]*view{nil, nil}); err == nil {
		t.Error("complete accepts two servers that are not in a cluster")
	}
}

func TestViewHasTheSlotsOfItsMaster(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, nodes, has string
		moving           bool
	}{
		{"some slots", node(aaaa, false, "") + node(bbbb, true, ""), "2 8192-16382 16383", false},
		{"a slot moves away", node(aaaa, true, " [93->-bbbb]") + node(bbbb, false, ""), "1 0-8191 [93->-bbbb]", true},
		{"a slot moves here", node(aaaa, false, "") + node(bbbb, true, " [93-<-aaaa]"), "2 8192-16382 16383 [93-<-aaaa]", true},
		{"a slot of another master moves", node(aaaa, false, " [93->-bbbb]") + node(bbbb, true, ""), "2 8192-16382 16383", false},
		{"no slots", node(aaaa, false, "") + strings.Replace(dddd, "master", "myself,master", 1), "", false},
		{"a replica", node(aaaa, false, "") + strings.Replace(cccc, "slave", "myself,slave", 1), "", false},
	} {
		v, err := newView(goodInfo, test.nodes)
		if err != nil || v.has != test.has || v.moving != test.moving {
			t.Errorf("%s: got %+v, error %v, want has %q, moving %v", test.name, v, err, test.has, test.moving)
		}
	}
}
