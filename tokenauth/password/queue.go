package password

import (
	"container/heap"
	"container/list"
	"net/netip"

	"github.com/bearerkit/bearerkit/tokenauth/internal/source"
)

// A queue holds the sign-ins in progress that are not hashing yet. It is a tree
// of networks:
//
//   - The root has a part for each IPv4 address, and for each IPv6 /48, which
//     one customer may own.
//   - The part of a /48 has a part for each of its /64.
//   - The lowest parts are the sources. They hold the sign-ins.
//
// The parts of each queue take turns. So a customer with many /64 gets no more
// turns than one with a single address. The methods size, most and part accept
// a nil queue, which is empty.
type queue struct {
	parent  *queue       // nil for the root
	network netip.Prefix // the key in parent.parts
	n       int          // the number of sign-ins

	// Only a queue with parts uses these fields. Empty parts are removed.
	parts   map[netip.Prefix]*queue
	largest bySize
	turns   list.List // of *queue: the parts with waiting sign-ins, in the order of their turns

	// Only a source uses these fields. The tickets are in the order of arrival.
	calling list.List // of *ticket: those that do not wait for a turn yet, for example during the look-up
	waiting list.List // of *ticket: those that wait for their turn to hash

	inLargest int           // the index in parent.largest
	inTurns   *list.Element // in parent.turns; nil if no sign-in waits
}

// A ticket is a sign-in in progress.
type ticket struct {
	source  *queue
	place   *list.Element // in source.calling or source.waiting; nil if in neither
	turn    chan error    // receives nil or errBusy; nil before the sign-in waits
	evicted bool          // whether another sign-in took its place
}

// path returns the networks of an address, the widest first. They lead from the
// root of a [queue] to the source.
func path(from netip.Addr) []netip.Prefix {
	narrow, wide := source.Networks(from)
	if wide.IsValid() {
		return []netip.Prefix{wide, narrow}
	}
	return []netip.Prefix{narrow}
}

func (q *queue) size() int {
	if q == nil {
		return 0
	}
	return q.n
}

// most returns the number of sign-ins in the largest part.
func (q *queue) most() int {
	if q == nil || len(q.largest) == 0 {
		return 0
	}
	return q.largest[0].n
}

func (q *queue) part(network netip.Prefix) *queue {
	if q == nil {
		return nil
	}
	return q.parts[network]
}

// someoneWaitsBeside reports whether a sign-in waits in any part except the
// given one.
func (q *queue) someoneWaitsBeside(part *queue) bool {
	others := q.turns.Len()
	if part != nil && part.inTurns != nil {
		others--
	}
	return others > 0
}

// add returns the ticket of a new sign-in. The ticket does not wait yet.
func (q *queue) add(path []netip.Prefix) *ticket {
	for _, network := range path {
		part := q.parts[network]
		if part == nil {
			part = &queue{parent: q, network: network}
			if q.parts == nil {
				q.parts = make(map[netip.Prefix]*queue)
			}
			q.parts[network] = part
			heap.Push(&q.largest, part)
		}
		q = part
	}
	t := &ticket{source: q}
	t.place = q.calling.PushBack(t)
	q.grow(1)
	return t
}

// wait appends the ticket to the waiting tickets of its source.
func (t *ticket) wait() {
	s := t.source
	s.calling.Remove(t.place)
	t.place = s.waiting.PushBack(t)
	t.turn = make(chan error, 1)
	for q := s; q.parent != nil && q.inTurns == nil; q = q.parent {
		q.inTurns = q.parent.turns.PushBack(q)
	}
}

// remove takes the ticket out of the queue.
func (t *ticket) remove() {
	s := t.source
	if t.turn == nil {
		s.calling.Remove(t.place)
	} else {
		s.waiting.Remove(t.place)
		for q := s; q.parent != nil && q.waiting.Len()+q.turns.Len() == 0; q = q.parent {
			q.parent.turns.Remove(q.inTurns)
			q.inTurns = nil
		}
	}
	t.place = nil
	s.grow(-1)
}

// next removes and returns the ticket that has the next turn. It returns nil if
// no ticket waits.
func (q *queue) next() *ticket {
	for q.turns.Len() > 0 {
		first := q.turns.Front()
		q.turns.MoveToBack(first)
		q = first.Value.(*queue)
	}
	first := q.waiting.Front()
	if first == nil {
		return nil
	}
	t := first.Value.(*ticket)
	t.remove()
	return t
}

// newest returns the newest waiting ticket of the largest source. If no ticket
// of that source waits, it returns the source's newest ticket. The queue must
// not be empty.
func (q *queue) newest() *ticket {
	for len(q.largest) > 0 {
		q = q.largest[0]
	}
	last := q.waiting.Back()
	if last == nil {
		last = q.calling.Back()
	}
	return last.Value.(*ticket)
}

// grow adds n to the size of q, which must be a source, and to the size of each
// queue above q. It also removes each of them whose size becomes 0, except the
// root.
func (q *queue) grow(n int) {
	for ; q.parent != nil; q = q.parent {
		q.n += n
		if q.n == 0 {
			heap.Remove(&q.parent.largest, q.inLargest)
			delete(q.parent.parts, q.network)
		} else {
			heap.Fix(&q.parent.largest, q.inLargest)
		}
	}
	q.n += n
}

// bySize is a [heap.Interface] with the largest part first.
type bySize []*queue

func (h bySize) Len() int           { return len(h) }
func (h bySize) Less(i, j int) bool { return h[i].n > h[j].n }

func (h bySize) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].inLargest, h[j].inLargest = i, j
}

func (h *bySize) Push(part any) {
	part.(*queue).inLargest = len(*h)
	*h = append(*h, part.(*queue))
}

func (h *bySize) Pop() any {
	last := len(*h) - 1
	part := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return part
}
