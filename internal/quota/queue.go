package quota

import "slices"

// waiter is a call that waits for its turn.
type waiter struct {
	Caller
	turn chan struct{} // closed when its turn has come
}

// queue holds the calls that wait: the lowest priority first, in it a call of each key in turn.
type queue struct {
	classes []*class // by priority
	n       int
}

type class struct {
	priority int
	keys     []string // in the order of their turns
	waiters  map[string][]*waiter
}

func (q *queue) len() int { return q.n }

func (q *queue) add(w *waiter) {
	at, found := slices.BinarySearchFunc(q.classes, w.Priority, func(c *class, p int) int { return c.priority - p })
	if !found {
		q.classes = slices.Insert(q.classes, at, &class{priority: w.Priority, waiters: map[string][]*waiter{}})
	}
	c := q.classes[at]
	if len(c.waiters[w.Key]) == 0 {
		c.keys = append(c.keys, w.Key)
	}
	c.waiters[w.Key] = append(c.waiters[w.Key], w)
	q.n++
}

// next takes out the waiter whose turn it is; there must be one.
func (q *queue) next() *waiter {
	for _, c := range q.classes {
		if len(c.keys) == 0 {
			continue
		}
		key := c.keys[0]
		w := c.waiters[key][0]
		c.keys = c.keys[1:]
		c.take(key, 0)
		if len(c.waiters[key]) > 0 {
			c.keys = append(c.keys, key) // its next turn comes after all others'
		}
		q.n--
		return w
	}
	panic("quota: nobody waits")
}

func (c *class) take(key string, at int) {
	if c.waiters[key] = slices.Delete(c.waiters[key], at, at+1); len(c.waiters[key]) == 0 {
		delete(c.waiters, key)
	}
}

// remove takes a waiter out; false when it is not there.
func (q *queue) remove(w *waiter) bool {
	for _, c := range q.classes {
		at := slices.Index(c.waiters[w.Key], w)
		if c.priority != w.Priority || at < 0 {
			continue
		}
		if c.take(w.Key, at); len(c.waiters[w.Key]) == 0 {
			c.keys = slices.DeleteFunc(c.keys, func(key string) bool { return key == w.Key })
		}
		q.n--
		return true
	}
	return false
}
