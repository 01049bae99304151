package localaws

import "time"

// link is an attachment of one thing to another. A detached one lingers for a while, as AWS's do.
type link struct {
	attached  time.Time
	detached  time.Time // zero while in force
	exclusive bool
}

func (l *link) inForce() bool { return l.detached.IsZero() }

// listed reports whether lists show the link yet, or still.
func (l *link) listed(now time.Time, settle time.Duration) bool {
	return now.Sub(l.attached) >= settle && (l.inForce() || now.Sub(l.detached) < settle)
}

// links are the attachments of one kind, found from either end.
type links struct {
	settle  time.Duration
	from    map[string]*catalog[*link]
	to      map[string]*catalog[*link]
	leaving []departure // detached ones, oldest first
}

type departure struct {
	from, to string
	link     *link
}

func newLinks(settle time.Duration) *links {
	return &links{settle: settle, from: map[string]*catalog[*link]{}, to: map[string]*catalog[*link]{}}
}

// attach makes a link, or revives it; attaching what is attached changes nothing.
func (l *links) attach(from, to string, exclusive bool, now time.Time) {
	l.expire(now)
	if existing := l.get(from, to); existing != nil {
		existing.detached, existing.exclusive = time.Time{}, exclusive
		return
	}
	added := &link{attached: now, exclusive: exclusive}
	put(l.from, from, to, added)
	put(l.to, to, from, added)
}

// detach takes a link out of force; it lingers in lists and in the way of deletes.
func (l *links) detach(from, to string, now time.Time) {
	l.expire(now)
	if existing := l.get(from, to); existing != nil && existing.inForce() {
		existing.detached = now
		l.leaving = append(l.leaving, departure{from, to, existing})
		l.expire(now)
	}
}

// expire forgets the links whose detaching has taken effect.
func (l *links) expire(now time.Time) {
	for len(l.leaving) > 0 {
		d := l.leaving[0]
		if !d.link.inForce() && now.Sub(d.link.detached) < l.settle {
			return
		}
		l.leaving = l.leaving[1:]
		if !d.link.inForce() {
			l.cut(d.from, d.to)
		}
	}
}

// cut removes a link at once.
func (l *links) cut(from, to string) {
	drop(l.from, from, to)
	drop(l.to, to, from)
}

// cutFrom removes all links from one end at once, because that end is deleted.
func (l *links) cutFrom(from string) {
	for _, to := range names(l.from[from]) {
		l.cut(from, to)
	}
}

// cutTo removes all links to one end at once.
func (l *links) cutTo(to string) {
	for _, from := range names(l.to[to]) {
		l.cut(from, to)
	}
}

func (l *links) get(from, to string) *link {
	// A policy has as many targets as there are devices, a device has one policy: search from the short side.
	if ends := l.to[to]; ends != nil {
		found, _ := ends.get(from)
		return found
	}
	return nil
}

// anyFrom reports whether anything is attached to this end, or was a moment ago.
func (l *links) anyFrom(from string, now time.Time) bool {
	l.expire(now)
	return l.from[from] != nil
}

func (l *links) anyTo(to string, now time.Time) bool {
	l.expire(now)
	return l.to[to] != nil
}

// froms are the other ends of the links to one end that are in force.
func (l *links) froms(to string) []string { return inForce(l.to[to]) }

// page lists the other ends, as stale as AWS's lists are.
func (l *links) page(ends *catalog[*link], p paging, now time.Time, take func(name string)) (next uint64) {
	l.expire(now)
	if ends == nil {
		return 0
	}
	return ends.page(p, func(name string, link *link) bool {
		shown := link.listed(now, l.settle)
		if shown {
			take(name)
		}
		return shown
	})
}

func put(ends map[string]*catalog[*link], key, other string, l *link) {
	c, ok := ends[key]
	if !ok {
		c = &catalog[*link]{}
		ends[key] = c
	}
	c.put(other, l)
}

func drop(ends map[string]*catalog[*link], key, other string) {
	if c := ends[key]; c != nil {
		if c.remove(other); c.size() == 0 {
			delete(ends, key)
		}
	}
}

func names(c *catalog[*link]) (all []string) {
	if c != nil {
		c.all(func(name string, _ *link) bool { all = append(all, name); return true })
	}
	return all
}

func inForce(c *catalog[*link]) (ends []string) {
	if c != nil {
		c.all(func(name string, l *link) bool {
			if l.inForce() {
				ends = append(ends, name)
			}
			return true
		})
	}
	return ends
}
