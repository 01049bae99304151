package localaws

// tag is a key and value, of IoT and of SageMaker alike.
type tag struct {
	Key   string
	Value string
}

// maxTags is how many tags a resource may have.
const maxTags = 50

func (r *region) setTags(arn string, tags []tag) {
	if len(tags) == 0 {
		return
	}
	set, ok := r.tags[arn]
	if !ok {
		set = &catalog[string]{}
		r.tags[arn] = set
	}
	for _, t := range tags {
		set.remove(t.Key)
		set.put(t.Key, t.Value)
	}
}

func (r *region) removeTags(arn string, keys []string) {
	if set, ok := r.tags[arn]; ok {
		for _, key := range keys {
			set.remove(key)
		}
	}
}

func (r *region) tagsOf(arn string) []tag {
	tags := []tag{}
	if set, ok := r.tags[arn]; ok {
		set.all(func(key, value string) bool { tags = append(tags, tag{key, value}); return true })
	}
	return tags
}

// taggable reports whether the ARN is of an IoT resource that is there and that AWS lets be tagged.
func (r *region) taggable(arn string) error {
	for kind, has := range map[string]func(string) bool{
		thingTypeKind: r.thingTypes.has, thingGroupKind: r.groups.has, policyKind: r.policies.has, roleAliasKind: r.roleAliases.has,
	} {
		if name, ok := r.named(kind, arn); ok {
			if has(name) {
				return nil
			}
			return notFound("Resource %s not found", arn)
		}
	}
	return invalidRequest("Resource %s cannot be tagged", arn)
}

func (r *region) tagResource(q *request) (any, error) {
	var in struct {
		ResourceARN string `json:"resourceArn"`
		Tags        []tag  `json:"tags"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if err := r.taggable(in.ResourceARN); err != nil {
		return nil, err
	}
	if len(in.Tags) > maxTags {
		return nil, invalidRequest("A resource can have at most %d tags", maxTags)
	}
	r.setTags(in.ResourceARN, in.Tags)
	return struct{}{}, nil
}

func (r *region) untagResource(q *request) (any, error) {
	var in struct {
		ResourceARN string   `json:"resourceArn"`
		TagKeys     []string `json:"tagKeys"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if err := r.taggable(in.ResourceARN); err != nil {
		return nil, err
	}
	r.removeTags(in.ResourceARN, in.TagKeys)
	return struct{}{}, nil
}

func (r *region) listTagsForResource(q *request) (any, error) {
	arn := q.query.Get("resourceArn")
	if err := r.taggable(arn); err != nil {
		return nil, err
	}
	return struct {
		Tags []tag `json:"tags"`
	}{r.tagsOf(arn)}, nil
}
