package tokenauth

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// streamRetry is the longest time until a failed check is repeated.
	streamRetry = time.Second
	// streamRest is the longest time until a token is checked although nothing
	// reported a change.
	streamRest = time.Hour
)

// run checks the tokens of open streams when they are due, until ctx ends. It
// then ends all streams, because nothing would end them with their tokens. The
// func look returns the token as the storage has it now, or an error that is an
// [ErrInvalidToken] if the token ended.
func (o *streams) run(ctx context.Context, look func(context.Context, *Token) (*Token, error)) {
	o.mu.Lock()
	o.runs++
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.runs--
		last := o.runs == 0
		o.mu.Unlock()
		if last {
			o.endAll(errRunEnded)
		}
	}()
	slots := make(chan struct{}, o.atOnce)
	var checking sync.WaitGroup
	defer checking.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if of := o.next(timer); of != nil {
			select {
			case slots <- struct{}{}:
				checking.Go(func() {
					defer func() { <-slots }()
					o.check(ctx, of, look)
				})
			case <-ctx.Done():
			}
			continue
		}
		select {
		case <-o.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// next takes the first token that is due. If there is none, it sets the timer
// and returns nil.
func (o *streams) next(timer *time.Timer) *streamsToken {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.due) == 0 {
		timer.Stop()
		return nil
	}
	// The lease may end although Watch has not returned.
	alive := o.feed != nil && o.feed.alive()
	if o.alive && !alive {
		o.spread(o.interval)
	}
	o.alive = alive
	wait := time.Until(o.due[0].due)
	if wait <= 0 {
		return heap.Pop(&o.due).(*streamsToken)
	}
	if alive {
		wait = min(wait, o.feed.lease/4)
	}
	timer.Reset(wait)
	return nil
}

// check checks a token, and ends its streams if it ended.
func (o *streams) check(ctx context.Context, of *streamsToken, look func(context.Context, *Token) (*Token, error)) {
	began := time.Now()
	t, err := look(ctx, of.token)
	if errors.Is(err, ErrInvalidToken) {
		o.end(of, err)
		return
	}
	if ctx.Err() != nil {
		return
	}
	o.failing.report(ctx, o.logger, &of.failing, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	if of.ended {
		return
	}
	switch {
	case err != nil:
		of.due = began.Add(min(o.interval, streamRetry))
	case o.always || o.feed == nil || !o.feed.alive():
		of.token, of.due = t, began.Add(o.interval)
	default:
		of.token, of.due = t, began.Add(streamRest)
	}
	if expires := o.expires(of.token); expires.Before(of.due) {
		of.due = expires
	}
	if !of.again.IsZero() && of.again.Before(of.due) {
		of.due = of.again
	}
	of.again = time.Time{}
	heap.Push(&o.due, of)
	o.wakeUp()
}
