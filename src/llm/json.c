
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "json_string.h"

#include <string.h>


llm_str_t
llm_json_trim(llm_str_t text)
{
    while (text.len && llm_json_space(text.data[0])) {
        text.data++;
        text.len--;
    }

    while (text.len && llm_json_space(text.data[text.len - 1])) {
        text.len--;
    }

    return text;
}


static const unsigned char *
json_skip_space(const unsigned char *p, const unsigned char *last)
{
    while (p < last && llm_json_space(*p)) {
        p++;
    }

    return p;
}


/* p is behind the opening quote; returns behind the closing one, or last */

static const unsigned char *
json_skip_string(const unsigned char *p, const unsigned char *last)
{
    const unsigned char  *q, *b;

    for (q = p; q < last; q++) {

        q = memchr(q, '"', last - q);

        if (q == NULL) {
            return last;
        }

        for (b = q; b > p && b[-1] == '\\'; b--) { /* void */ }

        if ((q - b) % 2 == 0) {
            return q + 1;
        }
    }

    return last;
}


static const unsigned char *
json_skip_container(const unsigned char *p, const unsigned char *last)
{
    size_t  depth;

    depth = 0;

    while (p < last) {

        switch (*p++) {

        case '"':
            p = json_skip_string(p, last);
            break;

        case '{':
        case '[':
            depth++;
            break;

        case '}':
        case ']':
            if (--depth == 0) {
                return p;
            }

            break;
        }
    }

    return last;
}


static const unsigned char *
json_skip(const unsigned char *p, const unsigned char *last)
{
    if (p == last) {
        return p;
    }

    if (*p == '"') {
        return json_skip_string(p + 1, last);
    }

    if (*p == '{' || *p == '[') {
        return json_skip_container(p, last);
    }

    while (p < last && !llm_json_space(*p) && *p != ',' && *p != '}'
           && *p != ']' && *p != ':' && *p != '"')
    {
        p++;
    }

    return p;
}


int
llm_json_kind(llm_str_t value)
{
    unsigned char  c;

    if (value.len == 0) {
        return 0;
    }

    c = value.data[0];

    if ((c >= '0' && c <= '9') || c == '-') {
        return '0';
    }

    return memchr("{[\"tfn", c, 6) ? c : 0;
}


void
llm_json_iter(llm_json_iter_t *it, llm_str_t value)
{
    int  kind;

    value = llm_json_trim(value);
    kind = llm_json_kind(value);

    it->pos = value.data;
    it->last = value.data;
    it->object = (kind == '{');
    it->started = 0;

    if (kind == '{' || kind == '[') {
        it->pos++;
        it->last += value.len;
    }
}


/* over a key and its colon; NULL if there is none */

static const unsigned char *
json_next_key(const unsigned char *p, const unsigned char *last,
    llm_str_t *key)
{
    if (p == last || *p != '"') {
        return NULL;
    }

    key->data = p;
    p = json_skip_string(p + 1, last);
    key->len = p - key->data;

    p = json_skip_space(p, last);

    if (p == last || *p != ':') {
        return NULL;
    }

    return json_skip_space(p + 1, last);
}


int
llm_json_next(llm_json_iter_t *it, llm_str_t *key, llm_str_t *value)
{
    const unsigned char  *p;

    key->len = 0;
    key->data = it->pos;

    p = json_skip_space(it->pos, it->last);
    it->pos = it->last;

    if (it->started) {

        if (p == it->last || *p != ',') {
            return 0;
        }

        p = json_skip_space(p + 1, it->last);
    }

    if (it->object) {
        p = json_next_key(p, it->last, key);

        if (p == NULL) {
            return 0;
        }
    }

    value->data = p;
    it->pos = json_skip(p, it->last);
    it->started = 1;
    value->len = it->pos - p;

    return value->len != 0;
}


static int
json_member(llm_str_t object, const char *name, size_t len, llm_str_t *value)
{
    llm_str_t        key, v;
    llm_json_iter_t  it;

    llm_json_iter(&it, object);

    while (it.object && llm_json_next(&it, &key, &v)) {

        if ((len == 0 || llm_json_alike(key, name))
            && llm_json_equals_n(key, name, len))
        {
            *value = v;
            return 1;
        }
    }

    return 0;
}


int
llm_json_member(llm_str_t object, const char *name, llm_str_t *value)
{
    return json_member(object, name, strlen(name), value);
}


unsigned
llm_json_members(llm_str_t object, const char *const *names, llm_str_t *values,
    unsigned n)
{
    unsigned         i, found;
    llm_str_t        key, value;
    llm_json_iter_t  it;

    for (i = 0; i < n; i++) {
        values[i].len = 0;
        values[i].data = NULL;
    }

    found = 0;

    llm_json_iter(&it, object);

    while (it.object && found < n && llm_json_next(&it, &key, &value)) {

        for (i = 0; i < n; i++) {

            if (values[i].data == NULL && llm_json_alike(key, names[i])
                && llm_json_equals(key, names[i]))
            {
                values[i] = value;
                found++;
                break;
            }
        }
    }

    return found;
}


static int
json_element(llm_str_t array, const char *index, size_t len, llm_str_t *value)
{
    size_t           i, n;
    llm_str_t        key, v;
    llm_json_iter_t  it;

    if (len == 0 || len > 9) {
        return 0;
    }

    n = 0;

    for (i = 0; i < len; i++) {

        if (index[i] < '0' || index[i] > '9') {
            return 0;
        }

        n = n * 10 + (size_t) (index[i] - '0');
    }

    llm_json_iter(&it, array);

    while (!it.object && llm_json_next(&it, &key, &v)) {

        if (n-- == 0) {
            *value = v;
            return 1;
        }
    }

    return 0;
}


int
llm_json_path(llm_str_t text, const char *path, llm_str_t *value)
{
    size_t  len;

    for ( ;; ) {
        len = strcspn(path, ".");

        if (!json_member(text, path, len, &text)
            && !json_element(text, path, len, &text))
        {
            return 0;
        }

        if (path[len] == '\0') {
            *value = text;
            return 1;
        }

        path += len + 1;
    }
}
