
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/json.h"
#include "tap.h"

#include <stdlib.h>


#define S(text)  llm_string(text)


static char  shown[128];


/* a text as it can stand in a test's name */

static const char *
show(llm_str_t s)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < s.len && i < sizeof(shown) - 1; i++) {
        c = s.data[i];
        shown[i] = (c < 0x20 || c > 0x7e || c == '#') ? '.' : (char) c;
    }

    shown[i] = '\0';

    return shown;
}


static llm_str_t
str(const char *text)
{
    llm_str_t  s;

    s.len = strlen(text);
    s.data = (const unsigned char *) text;

    return s;
}


static int
same(llm_str_t s, const char *want)
{
    return s.len == strlen(want) && memcmp(s.data, want, s.len) == 0;
}


/* a copy that ends where its memory ends, so that reading on is noticed */

static llm_str_t
copy(llm_str_t s)
{
    llm_str_t       c;
    unsigned char  *p;

    p = malloc(s.len ? s.len : 1);

    if (p == NULL) {
        abort();
    }

    memcpy(p, s.data, s.len);

    c.len = s.len;
    c.data = p;

    return c;
}


static const llm_str_t  valid[] = {
    S("{}"), S("[]"), S("\"\""), S("0"), S("-0"), S("1"), S("-1"), S("10"),
    S("1234567890123456789012345678901234567890"),
    S("0.0"), S("-0.5"), S("1.25"), S("1e1"), S("1E1"), S("1e+1"), S("1e-1"),
    S("0e0"), S("0E-0"), S("1.5e300"), S("1e99999"), S("1e007"), S("-1.0E+2"),
    S("true"), S("false"), S("null"),
    S(" \t\r\n{ \t\r\n} \t\r\n"), S(" 1 "), S("\nnull\n"),
    S("{\"a\":1}"), S("{\"a\":1,\"a\":2}"), S("{\"\":\"\"}"),
    S("{ \"a\" : [ 1 , 2 ] , \"b\" : { } }"),
    S("[1,2.5,-3e4,\"x\",true,false,null,{},[]]"),
    S("[[[[]]],{\"a\":{\"b\":[{}]}}]"),
    S("[0]"), S("[0,0]"), S("[-1]"), S("{\"a\":0}"), S("{\"a\":-0.0}"),
    S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), S("\"\\u0000\""),
    S("\"\\uabCD\\uEf01\""), S("\"\\ud83d\\ude00\""),
    S("\"\\ud83d\""), S("\"\\ude00\\ud83d\""), S("\"\\ud83dx\""),
    S("\"\x7f\""), S("\"{[:,]}\""),
    S("\"\xc2\x80\""), S("\"\xdf\xbf\""), S("\"\xe0\xa0\x80\""),
    S("\"\xed\x9f\xbf\""), S("\"\xee\x80\x80\""), S("\"\xef\xbf\xbf\""),
    S("\"\xf0\x90\x80\x80\""), S("\"\xf4\x8f\xbf\xbf\""),
    S("{\"\xe2\x82\xac\":\"\xe2\x82\xac\"}")
};


static const llm_str_t  invalid[] = {

    /* nothing, or not all */

    S(""), S(" "), S("\0"), S("{"), S("["), S("\""), S("-"), S("t"), S("nul"),
    S("{\"a\""), S("{\"a\":"), S("{\"a\":1"), S("{\"a\":1,"), S("[1"), S("[1,"),
    S("\"abc"), S("\"abc\\"), S("\"\\u12"), S("[\"a"), S("{\"a\":\"b\""),

    /* too much */

    S("{}{}"), S("{},"), S("{}]"), S("[]]"), S("1 2"), S("null null"),
    S("{} x"), S("\"a\"\"b\""), S("{}\0"), S("]"), S("}"), S(","), S(":"),

    /* commas and colons */

    S("[,]"), S("[1,]"), S("[,1]"), S("[1,,2]"), S("[1 2]"), S("[1:2]"),
    S("{,}"), S("{\"a\":1,}"), S("{,\"a\":1}"), S("{\"a\":1,,\"b\":2}"),
    S("{\"a\" 1}"), S("{\"a\"::1}"), S("{\"a\",1}"), S("{\"a\"}"),
    S("{\"a\":}"), S("{:1}"), S("{\"a\":1 \"b\":2}"),

    /* keys */

    S("{a:1}"), S("{'a':1}"), S("{1:1}"), S("{null:1}"), S("{[]:1}"),

    /* brackets */

    S("[}"), S("{]"), S("[1}"), S("{\"a\":1]"), S("[[]"), S("{\"a\":[}"),

    /* numbers */

    S("01"), S("-01"), S("00"), S("+1"), S(".5"), S("1."), S("-.5"), S("1.e1"),
    S("1e"), S("1e+"), S("1E-"), S("--1"), S("-+1"), S("1e1.5"), S("1.2.3"),
    S("0x10"), S("1a"), S("1e1e1"), S("NaN"), S("Infinity"), S("-Infinity"),
    S("1_000"), S("- 1"), S("[1.]"), S("[-]"), S("\xef\xbc\x91"),

    /* literals */

    S("True"), S("TRUE"), S("tru"), S("truee"), S("trux"), S("nulll"), S("nil"),
    S("undefined"), S("falsee"), S("[truefalse]"), S("fals e"),

    /* strings */

    S("'a'"), S("\"\n\""), S("\"\t\""), S("\"\0\""), S("\"\x1f\""),
    S("\"\\a\""), S("\"\\x41\""), S("\"\\'\""), S("\"\\0\""), S("\"\\\n\""),
    S("\"\\u\""), S("\"\\u123\""), S("\"\\u123g\""), S("\"\\U0041\""),
    S("\"\\u+123\""), S("\"\\u 123\""), S("\"\\ud83d\\u\""), S("\"a\"b"),

    /* white space and comments */

    S("\xef\xbb\xbf{}"), S("\f1"), S("\v1"), S("\xc2\xa0{}"), S("[1]\f"),
    S("// x\n1"), S("/* x */1"), S("{}//"),

    /* what is not UTF-8 */

    S("\"\x80\""), S("\"\xbf\""), S("\"\xff\""), S("\"\xfe\""), S("\"\xc3\""),
    S("\"\xc0\x80\""), S("\"\xc1\xbf\""), S("\"\xe0\x80\x80\""),
    S("\"\xe0\x9f\xbf\""), S("\"\xf0\x80\x80\x80\""),
    S("\"\xf0\x8f\xbf\xbf\""), S("\"\xed\xa0\x80\""), S("\"\xed\xbf\xbf\""),
    S("\"\xf4\x90\x80\x80\""), S("\"\xf5\x80\x80\x80\""), S("\"\xe2\x82\""),
    S("\"\xf0\x9f\x98\""), S("\"\xe2\x28\xa1\""), S("\"\xe2\x82\x28\""),
    S("\"\xf0\x28\x8c\xbc\""), S("\"\xf8\x88\x80\x80\x80\""),
    S("{\"\xc3\x28\":1}"), S("\"12345678\xff\""), S("\"\xc3\xa9\xa9\""),
    S("\"1234567\xe2\x82\xac\xe2\x82\"")
};


static const char *const  model[] = { "model" };


/* the scanner knows objects only, and leaves UTF-8 to others */

static llm_json_status_e
scanned(llm_str_t text)
{
    llm_json_scan_t  s;

    llm_json_scan_init(&s, model, 1, NULL, 0);

    return llm_json_scan(&s, text.data, text.len);
}


static void
test_valid(void)
{
    size_t     i;
    llm_str_t  c;

    for (i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        c = copy(valid[i]);

        ok(llm_json_valid(c), "valid: %s", show(c));

        is_int(scanned(c), llm_json_kind(llm_json_trim(c)) == '{'
                           ? LLM_JSON_DONE : LLM_JSON_BAD,
               "scanned: %s", show(c));

        free((void *) c.data);
    }

    for (i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        c = copy(invalid[i]);

        ok(!llm_json_valid(c), "invalid: %s", show(c));

        ok(scanned(c) != LLM_JSON_DONE || memchr(c.data, 0xc3, c.len),
           "scanned and not taken: %s", show(c));

        free((void *) c.data);
    }
}


static void
test_depth(void)
{
    int          i, n;
    char         text[8 * LLM_JSON_DEPTH];
    char        *p;
    llm_str_t    s;
    const char  *what;

    for (i = 0; i < 6; i++) {
        n = LLM_JSON_DEPTH + i % 2;
        p = text;

        what = (i < 2) ? "arrays" : (i < 4) ? "objects" : "one by one";

        for (int k = 0; k < n; k++) {
            p += sprintf(p, "%s", i < 2 || (i >= 4 && k % 2) ? "[" : "{\"\":");
        }

        if (i >= 2 && p[-1] == ':') {
            *p++ = '0';
        }

        for (int k = n; k-- > 0; /* void */ ) {
            *p++ = (i < 2 || (i >= 4 && k % 2)) ? ']' : '}';
        }

        s.data = (unsigned char *) text;
        s.len = p - text;

        is_int(llm_json_valid(s), n == LLM_JSON_DEPTH, "%d deep: %s", n, what);

        if (i >= 2) {
            is_int(scanned(s), n == LLM_JSON_DEPTH ? LLM_JSON_DONE
                                                   : LLM_JSON_BAD,
                   "%d deep, scanned: %s", n, what);
        }
    }
}


typedef struct {
    const char  *text;
    int          kind;
} kind_row_t;


static const kind_row_t  kinds[] = {
    { "{}", '{' }, { "[", '[' }, { "\"a", '"' }, { "0", '0' }, { "-1", '0' },
    { "9", '0' }, { "true", 't' }, { "f", 'f' }, { "null", 'n' }, { "", 0 },
    { " 1", 0 }, { "+1", 0 }, { "x", 0 }, { "}", 0 }, { ",", 0 }
};


typedef struct {
    const char  *text;
    const char  *path;
    const char  *want;           /* NULL: there is none */
} path_row_t;


#define CHUNK  "{\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":"            \
               "{\"content\":\"a\\\"}]\"}},{\"delta\":{}}],\"n\":-1.5e3 }"

static const path_row_t  paths[] = {
    { CHUNK, "id", "\"1\"" },
    { CHUNK, "n", "-1.5e3" },
    { CHUNK, "choices.0.index", "0" },
    { CHUNK, "choices.0.delta.content", "\"a\\\"}]\"" },
    { CHUNK, "choices.1", "{\"delta\":{}}" },
    { CHUNK, "choices.1.delta", "{}" },
    { CHUNK, "choices.2", NULL },
    { CHUNK, "choices.x", NULL },
    { CHUNK, "choices.", NULL },
    { CHUNK, "choices.0x", NULL },
    { CHUNK, "choices.-1", NULL },
    { CHUNK, "choices.1000000000", NULL },
    { CHUNK, "choices.index", NULL },
    { CHUNK, "content", NULL },
    { CHUNK, "index", NULL },
    { CHUNK, "id.x", NULL },
    { CHUNK, "n.0", NULL },
    { CHUNK, "", NULL },

    { "{\"a\":1,\"a\":2}", "a", "1" },
    { "{\"b\":{\"a\":1},\"a\":2}", "a", "2" },
    { "{\"b\":[\"a\",1],\"a\":2}", "a", "2" },
    { "{\"b\":\"\\\"a\\\":3\",\"a\":2}", "a", "2" },
    { "{\"b\":\"\\\\\",\"a\":2}", "a", "2" },
    { "{\"b\":\"x\\\\\\\"\",\"a\":2}", "a", "2" },
    { "{\"\":7}", "", "7" },
    { "{\"\":{\"\":8}}", ".", "8" },
    { "{\"0\":\"key\"}", "0", "\"key\"" },
    { "[\"e\"]", "0", "\"e\"" },
    { "[\"e\"]", "00", "\"e\"" },
    { "[[1,[2,3]],4]", "0.1.1", "3" },
    { "[1]", "a", NULL },
    { "[0,1,2,3,4,5,6,7,8,9,10]", "9", "9" },
    { "[0,1,2,3,4,5,6,7,8,9,10]", "10", "10" },
    { "[0,1,2,3,4,5,6,7,8,9,10]", "000000007", "7" },
    { "[0,1,2,3,4,5,6,7,8,9,10]", ":", NULL },
    { " { \"a\" : 1 } ", "a", "1" },
    { "\n{\"a\"\t:\r\n[ 1 , 2 ]}", "a", "[ 1 , 2 ]" },
    { "{\"mod\\u0065l\":1}", "model", "1" },
    { "{\"\\u006d\\u006F\\u0064\\u0065\\u006c\":1}", "model", "1" },
    { "{\"model\\u0000\":1,\"model\":2}", "model", "2" },
    { "{\"mode\":1,\"models\":2,\"Model\":3}", "model", NULL },
    { "{\"\xc3\xa9\":1}", "\xc3\xa9", "1" },
    { "{\"\\u00e9\":1}", "\xc3\xa9", "1" },
    { "{\"\\ud83d\\ude00\":1}", "\xf0\x9f\x98\x80", "1" },
    { "{\"\\ud83d\":1}", "\xef\xbf\xbd", "1" },
    { "null", "a", NULL },
    { "\"a\"", "a", NULL },
    { "12", "0", NULL },
    { "", "a", NULL },

    /* what is cut off is read as far as it goes */

    { "{\"a\":1,\"b\":\"xy", "a", "1" },
    { "{\"a\":1,\"b\":\"xy", "b", "\"xy" },
    { "{\"a\":1,\"b\":{\"c\":[1,2", "b.c.1", "2" },
    { "{\"a\":1,\"b\":{\"c\":[1,2", "b.c.2", NULL },
    { "{\"a\":1,\"b\"", "b", NULL },
    { "{\"a\":1,\"b\":", "b", NULL },
    { "{\"a\":1,\"b", "b", NULL },
    { "{\"a\":12", "a", "12" },
    { "{", "a", NULL },

    /* what is broken, up to where it is */

    { "{\"a\":1 \"b\":2}", "a", "1" },
    { "{\"a\":1 \"b\":2}", "b", NULL },
    { "{\"a\" 1}", "a", NULL },
    { "{a:1}", "a", NULL },
    { "[1,,2]", "1", NULL },
    { "[1,,2]", "2", NULL },
    { "{\"a\":}", "a", NULL },
    { "{\"a\":1}}", "a", "1" }
};


static void
test_paths(void)
{
    int        found;
    size_t     i;
    llm_str_t  c, v;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        is_int(llm_json_kind(str(kinds[i].text)), kinds[i].kind, "kind of %s",
               kinds[i].text);
    }

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        c = copy(str(paths[i].text));
        v = str("untouched");

        found = llm_json_path(c, paths[i].path, &v);

        ok(paths[i].want ? found && same(v, paths[i].want)
                         : !found && same(v, "untouched"),
           "path %s, row %d", paths[i].path, (int) i);

        if (strchr(paths[i].path, '.') == NULL
            && llm_json_kind(llm_json_trim(c)) == '{')
        {
            found = llm_json_member(c, paths[i].path, &v);

            ok(paths[i].want ? found && same(v, paths[i].want) : !found,
               "member %s, row %d", paths[i].path, (int) i);
        }

        free((void *) c.data);
    }
}


/* a value found in a text cut anywhere is that of the whole, or is cut, too */

static void
test_cut(void)
{
    int        found, bad;
    size_t     i, len;
    llm_str_t  whole, c, v, w;

    bad = 0;

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {

        whole = str(paths[i].text);
        found = llm_json_path(whole, paths[i].path, &w);

        for (len = 0; len < whole.len; len++) {

            c = copy((llm_str_t) { len, whole.data });

            if (llm_json_path(c, paths[i].path, &v)) {

                if (!found || v.data - c.data != w.data - whole.data
                    || v.len > w.len)
                {
                    bad++;
                }
            }

            free((void *) c.data);
        }
    }

    is_int(bad, 0, "cut texts give what the whole ones do");
}


static void
test_members(void)
{
    llm_str_t  v[4], w[2];

    static const char *const  names[] = { "type", "error", "none", "a" };
    static const char *const  twice[] = { "a", "a" };

    is_int(llm_json_members(str("{\"error\":null,\"x\":{\"type\":1},\"a\":[],"
                                "\"type\":\"b\",\"a\":2}"), names, v, 4),
           3, "members: how many");

    ok(same(v[0], "\"b\""), "members: of the same level");
    ok(same(v[1], "null"), "members: null is a value");
    ok(v[2].len == 0 && v[2].data == NULL, "members: what is not there");
    ok(same(v[3], "[]"), "members: the first of a name");

    is_int(llm_json_members(str("[1]"), names, v, 4), 0, "members: no object");
    is_int(llm_json_members(str(""), names, v, 4), 0, "members: no text");
    is_int(llm_json_members(str("{\"type\":1,\"erro"), names, v, 4), 1,
           "members: cut");
    ok(same(v[0], "1") && v[1].len == 0, "members: cut, values");

    is_int(llm_json_members(str("{\"a\":1,\"a\":2}"), twice, w, 2), 2,
           "members: a name asked for twice");
    ok(same(w[0], "1") && same(w[1], "2"), "members: gets the next");
}


static void
test_iter(void)
{
    int              n;
    llm_str_t        key, value;
    llm_json_iter_t  it;

    llm_json_iter(&it, str(" [ 1 , \"a,]\" , {\"x\":[2]} ] , 5"));

    for (n = 0; llm_json_next(&it, &key, &value); n++) {
        ok(key.len == 0, "elements have no key");
        ok(same(value, n == 0 ? "1" : n == 1 ? "\"a,]\"" : "{\"x\":[2]}"),
           "element %d", n);
    }

    is_int(n, 3, "elements");
    ok(!llm_json_next(&it, &key, &value), "and that was all");

    llm_json_iter(&it, str("{\"a\\\"\":1,\"b\":{},\"c\":}"));

    ok(llm_json_next(&it, &key, &value) && same(key, "\"a\\\"\"")
       && same(value, "1"), "member 0");
    ok(llm_json_next(&it, &key, &value) && same(key, "\"b\"")
       && same(value, "{}"), "member 1");
    ok(!llm_json_next(&it, &key, &value), "up to where it is broken");
    ok(!llm_json_next(&it, &key, &value), "and not behind it");

    llm_json_iter(&it, str("[]"));
    ok(!llm_json_next(&it, &key, &value), "an empty array");
    llm_json_iter(&it, str("{ }"));
    ok(!llm_json_next(&it, &key, &value), "an empty object");
    llm_json_iter(&it, str("7"));
    ok(!llm_json_next(&it, &key, &value), "no container");
    llm_json_iter(&it, (llm_str_t) { 0, NULL });
    ok(!llm_json_next(&it, &key, &value), "nothing");
}


typedef struct {
    const char  *value;
    const char  *want;
    int          len;            /* -1: is not decoded, want is its prefix */
} decode_row_t;


static const decode_row_t  decodes[] = {
    { "\"\"", "", 0 },
    { "\"abc\"", "abc", 3 },
    { "\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "a\"\\/\b\f\n\r\tz", 10 },
    { "\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac", 6 },
    { "\"\\u0000\"", "\0", 1 },
    { "\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
      "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11 },
    { "\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", 4 },
    { "\"\\uD800\\uDC00\\uDBFF\\uDFFF\"",
      "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8 },
    { "\"\xc3\xa9\"", "\xc3\xa9", 2 },

    /* half a pair */

    { "\"\\ud83d\"", "\xef\xbf\xbd", 3 },
    { "\"\\ude00\"", "\xef\xbf\xbd", 3 },
    { "\"\\ud83dx\"", "\xef\xbf\xbdx", 4 },
    { "\"\\ud83d\\n\"", "\xef\xbf\xbd\n", 4 },
    { "\"\\ud83d\\u0041\"", "\xef\xbf\xbd" "A", 4 },
    { "\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7 },
    { "\"\\ude00\\ud83d\"", "\xef\xbf\xbd\xef\xbf\xbd", 6 },
    { "\"\\udc00\\udfff\\ue000\"",
      "\xef\xbf\xbd\xef\xbf\xbd\xee\x80\x80", 9 },
    { "\"\\ud7ff\\ud800\\udbff\"",
      "\xed\x9f\xbf\xef\xbf\xbd\xef\xbf\xbd", 9 },

    /* no string, cut, malformed */

    { "", "", -1 },
    { "abc", "", -1 },
    { "1", "", -1 },
    { "\"", "", -1 },
    { "\"abc", "abc", -1 },
    { "\"abc\\", "abc", -1 },
    { "\"abc\\u12", "abc", -1 },
    { "\"abc\\x41\"", "abc", -1 },
    { "\"abc\\u12g4\"", "abc", -1 },
    { "\"abc\ndef\"", "abc", -1 },
    { "\"abc\"def", "abc", -1 },
    { "\"abc\" ", "abc", -1 }
};


static void
test_decode(void)
{
    int            fits;
    size_t         i, n, len, size;
    llm_str_t      c;
    unsigned char  buf[64];

    for (i = 0; i < sizeof(decodes) / sizeof(decodes[0]); i++) {
        c = copy(str(decodes[i].value));

        n = decodes[i].len < 0 ? strlen(decodes[i].want)
                               : (size_t) decodes[i].len;

        len = llm_json_decode(c, buf, sizeof(buf));

        is_int((long long) len, decodes[i].len, "decode %s: length", show(c));
        ok(len == (size_t) -1 || memcmp(buf, decodes[i].want, len) == 0,
           "decode %s: bytes", show(c));

        len = llm_json_prefix(c, buf, sizeof(buf));

        ok(len == n && memcmp(buf, decodes[i].want, n) == 0, "prefix of %s",
           show(c));

        if (decodes[i].len >= 0) {
            ok(n && decodes[i].want[0] == '\0'
               ? !llm_json_equals(c, "") : llm_json_equals(c, decodes[i].want),
               "equals %s", show(c));

        } else {
            ok(!llm_json_equals(c, decodes[i].want), "differs %s", show(c));
        }

        fits = 1;

        for (size = 0; size < n; size++) {
            memset(buf, 0xa5, sizeof(buf));

            len = llm_json_prefix(c, buf, size);

            fits &= llm_json_decode(c, buf, size) == (size_t) -1 && len <= size
                    && memcmp(buf, decodes[i].want, len) == 0
                    && buf[size] == 0xa5;
        }

        ok(fits, "decode %s into less", show(c));
        is_int((long long) llm_json_decode(c, buf, n), decodes[i].len,
               "decode %s into just enough", show(c));
        free((void *) c.data);
    }

    ok(!llm_json_equals(str("\"abc\""), "ab"), "longer is not equal");
    ok(!llm_json_equals(str("\"abc\""), "abcd"), "shorter is not equal");
    ok(!llm_json_equals(str("\"abc\""), "abd"), "other is not equal");
    ok(!llm_json_equals(str("abc"), "abc"), "no string is not equal");
}


typedef struct {
    llm_str_t    text;
    const char  *want;
} escape_row_t;


static const escape_row_t  escapes[] = {
    { S(""), "" },
    { S("abc"), "abc" },
    { S("\"\\/"), "\\\"\\\\/" },
    { S("\b\f\n\r\t"), "\\b\\f\\n\\r\\t" },
    { S("\0\x01\x1f\x7f"), "\\u0000\\u0001\\u001f\x7f" },
    { S("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
      "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
    { S("\xff"), "\xef\xbf\xbd" },
    { S("a\x80z"), "a\xef\xbf\xbdz" },
    { S("\xc0\x80"), "\xef\xbf\xbd\xef\xbf\xbd" },
    { S("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    { S("\xe2\x82"), "\xef\xbf\xbd" },
    { S("\xe2\x82z"), "\xef\xbf\xbdz" },
    { S("\xf0\x9f\x98\xe2\x82\xac"), "\xef\xbf\xbd\xe2\x82\xac" },
    { S("\xf4\x90\x80\x80"),
      "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }
};


static void
test_escape(void)
{
    int            i, good;
    size_t         k, len;
    llm_str_t      c, quoted;
    unsigned char  two[2], buf[64], back[64];

    for (k = 0; k < sizeof(escapes) / sizeof(escapes[0]); k++) {
        c = copy(escapes[k].text);

        is_int(llm_json_escape(NULL, c), strlen(escapes[k].want),
               "escape %s: length", show(c));

        len = llm_json_escape(buf, c);
        buf[len] = '\0';

        is_str((char *) buf, escapes[k].want, "escape, row %d", (int) k);

        free((void *) c.data);
    }

    good = 1;

    for (i = 0; i < 65536; i++) {
        two[0] = (unsigned char) (i >> 8);
        two[1] = (unsigned char) i;
        c = (llm_str_t) { 2, two };

        buf[0] = '"';
        len = llm_json_escape(buf + 1, c);
        buf[len + 1] = '"';
        quoted = (llm_str_t) { len + 2, buf };

        good &= len == llm_json_escape(NULL, c) && llm_json_valid(quoted);
        len = llm_json_decode(quoted, back, sizeof(back));

        if ((i & 0x8080) == 0) {
            good &= len == 2 && memcmp(back, two, 2) == 0;
        }
    }

    ok(good, "any two bytes make a string, and ASCII comes back");
}


typedef struct {
    const char  *text;
    int          status;
    int          n;              /* of "model" */
    const char  *span;           /* the last one kept */
    const char  *value;          /* NULL: no string */
} scan_row_t;


#define MORE  LLM_JSON_MORE
#define DONE  LLM_JSON_DONE
#define BAD   LLM_JSON_BAD

static const scan_row_t  scans[] = {
    { "{\"model\":\"gpt-5\"}", DONE, 1, "\"gpt-5\"", "gpt-5" },
    { " { \"model\" : \"a\" , \"x\" : 1 } ", DONE, 1, "\"a\"", "a" },
    { "{\"x\":1,\"model\":\"\"}", DONE, 1, "\"\"", "" },
    { "{\"model\":null}", DONE, 1, "null", NULL },
    { "{\"model\":-1.5e+3}", DONE, 1, "-1.5e+3", NULL },
    { "{\"model\":0 }", DONE, 1, "0", NULL },
    { "{\"model\":12,\"a\":3}", DONE, 1, "12", NULL },
    { "{\"model\":true}", DONE, 1, "true", NULL },
    { "{\"model\":[1,{\"model\":2}] }", DONE, 1, "[1,{\"model\":2}]", NULL },
    { "{\"model\":{\"model\":\"b\"}}", DONE, 1, "{\"model\":\"b\"}", NULL },
    { "{}", DONE, 0, NULL, NULL },
    { "{\"models\":\"a\",\"mode\":1,\"\":2,\"Model\":3}", DONE, 0, NULL, NULL },
    { "{\"x\":\"model\",\"y\":[\"model\",\"z\"]}", DONE, 0, NULL, NULL },
    { "{\"x\":{\"model\":1},\"y\":[{\"model\":2}]}", DONE, 0, NULL, NULL },
    { "{\"x\":\"\\\"model\\\":1\",\"y\":0}", DONE, 0, NULL, NULL },
    { "{\"x\":\"\\\\\",\"model\":\"c\"}", DONE, 1, "\"c\"", "c" },

    /* the same name again, and in other letters */

    { "{\"model\":\"a\",\"model\":\"b\"}", DONE, 2, "\"b\"", "b" },
    { "{\"model\":\"a\",\"model\":[\"b\"]}", DONE, 2, "[\"b\"]", NULL },
    { "{\"model\":1,\"model\":\"b\",\"x\":\"y\"}", DONE, 2, "\"b\"", "b" },
    { "{\"mod\\u0065l\":\"a\"}", DONE, 1, "\"a\"", "a" },
    { "{\"\\u006D\\u006f\\u0064\\u0065\\u006c\":\"a\"}", DONE, 1, "\"a\"",
      "a" },
    { "{\"mod\\u0065ls\":\"a\",\"model\\u0000\":1}", DONE, 0, NULL, NULL },
    { "{\"model\\ud83d\":1,\"model\\n\":2}", DONE, 0, NULL, NULL },

    /* decoded */

    { "{\"model\":\"a\\u0062\\n\\\"\\/\"}", DONE, 1, "\"a\\u0062\\n\\\"\\/\"",
      "ab\n\"/" },
    { "{\"model\":\"\\ud83d\\ude00\"}", DONE, 1, "\"\\ud83d\\ude00\"",
      "\xf0\x9f\x98\x80" },
    { "{\"model\":\"\\ud83dx\\ude00\\ud83d\"}", DONE, 1,
      "\"\\ud83dx\\ude00\\ud83d\"",
      "\xef\xbf\xbdx\xef\xbf\xbd\xef\xbf\xbd" },
    { "{\"model\":\"\\ud83d\\ud83d\\ude00\\ud83d\\t\"}", DONE, 1,
      "\"\\ud83d\\ud83d\\ude00\\ud83d\\t\"",
      "\xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbd\t" },
    { "{\"model\":\"\xc3\xa9\"}", DONE, 1, "\"\xc3\xa9\"", "\xc3\xa9" },

    /* not all there */

    { "", MORE, 0, NULL, NULL },
    { "  ", MORE, 0, NULL, NULL },
    { "{", MORE, 0, NULL, NULL },
    { "{\"model\"", MORE, 0, NULL, NULL },
    { "{\"model\":1", MORE, 0, NULL, NULL },
    { "{\"model\":\"a", MORE, 0, NULL, NULL },
    { "{\"model\":\"a\"", MORE, 1, "\"a\"", "a" },
    { "{\"model\":\"a\",", MORE, 1, "\"a\"", "a" },
    { "{\"model\":[1]", MORE, 1, "[1]", NULL },

    /* no object, or a bad one */

    { "[]", BAD, 0, NULL, NULL },
    { "\"model\"", BAD, 0, NULL, NULL },
    { "1", BAD, 0, NULL, NULL },
    { "null", BAD, 0, NULL, NULL },
    { "\xef\xbb\xbf{}", BAD, 0, NULL, NULL },
    { "{\"model\":\"a\"},", BAD, 1, "\"a\"", "a" },
    { "{\"model\":\"a\"}{}", BAD, 1, "\"a\"", "a" },
    { "{\"model\":\"a\"}x  ", BAD, 1, "\"a\"", "a" },
    { "{\"model\":\"a\",}", BAD, 1, "\"a\"", "a" },
    { "{\"model\":01}", BAD, 1, "0", NULL },
    { "{\"model\":\"a\\x\"}", BAD, 0, NULL, NULL },
    { "{\"model\":\"\\u12x4\"}", BAD, 0, NULL, NULL },
    { "{\"model\":tru}", BAD, 0, NULL, NULL },
    { "{model:1}", BAD, 0, NULL, NULL }
};


#define KEPT  2048

typedef struct {
    llm_json_scan_t     scan;
    const char *const  *names;
    unsigned            n;
    unsigned char       buf[KEPT];
} scanner_t;


static void
start(scanner_t *s, const char *const *names, unsigned n, size_t size)
{
    s->names = names;
    s->n = n;

    /* nothing may depend on what was there before */

    memset(&s->scan, 0x55, sizeof(llm_json_scan_t));

    llm_json_scan_init(&s->scan, names, n, s->buf, size);
}


static void
feed(scanner_t *s, llm_str_t text, size_t from, size_t to)
{
    llm_str_t  c;

    c = copy((llm_str_t) { to - from, text.data + from });
    (void) llm_json_scan(&s->scan, c.data, c.len);
    free((void *) c.data);
}


static int
alike(const scanner_t *a, const scanner_t *b)
{
    uint32_t   i, n;
    llm_str_t  t, u;

    n = (a->scan.nspans < LLM_JSON_SPANS) ? a->scan.nspans : LLM_JSON_SPANS;

    if (a->scan.status != b->scan.status || a->scan.nspans != b->scan.nspans
        || a->scan.offset != b->scan.offset
        || memcmp(a->scan.spans, b->scan.spans, n * sizeof(llm_json_span_t))
           != 0)
    {
        return 0;
    }

    for (i = 0; i < n; i++) {
        t = llm_json_scan_text(&a->scan, &a->scan.spans[i]);
        u = llm_json_scan_text(&b->scan, &b->scan.spans[i]);

        if (t.len != u.len || (t.len && memcmp(t.data, u.data, t.len) != 0)) {
            return 0;
        }
    }

    return 1;
}


/* whole, byte by byte, in every two pieces, and in three */

static int
splits(llm_str_t text, const scanner_t *whole)
{
    int        good;
    size_t     i, k;
    scanner_t  s;

    start(&s, whole->names, whole->n, whole->scan.size);

    for (i = 0; i < text.len; i++) {
        feed(&s, text, i, i + 1);
    }

    good = alike(&s, whole);

    for (i = 0; i <= text.len; i++) {

        for (k = i; k <= text.len; k++) {
            start(&s, whole->names, whole->n, whole->scan.size);
            feed(&s, text, 0, i);
            feed(&s, text, i, k);
            feed(&s, text, k, text.len);
            good &= alike(&s, whole);
        }
    }

    return good;
}


static void
test_scan(void)
{
    size_t             i, len;
    llm_str_t          text, span, kept;
    scanner_t          s;
    unsigned char      buf[64];
    const scan_row_t  *row;
    llm_json_span_t   *last;

    for (i = 0; i < sizeof(scans) / sizeof(scans[0]); i++) {
        row = &scans[i];
        text = str(row->text);

        start(&s, model, 1, KEPT);
        feed(&s, text, 0, text.len);

        is_int(s.scan.status, row->status, "scan %s: status", show(text));
        is_int(s.scan.nspans, row->n, "scan %s: how many", show(text));
        is_int((long long) s.scan.offset, text.len, "scan %s: offset",
               show(text));

        if (row->span) {
            last = &s.scan.spans[s.scan.nspans - 1];
            span.data = text.data + last->start;
            span.len = last->end - last->start;
            kept = llm_json_scan_text(&s.scan, last);

            ok(same(span, row->span), "scan %s: where", show(text));
            ok(same(kept, row->span), "scan %s: what", show(text));
            is_int(last->name, 0, "scan %s: which", show(text));

            len = llm_json_decode(kept, buf, sizeof(buf));

            ok(row->value ? same((llm_str_t) { len, buf }, row->value)
                          : len == (size_t) -1,
               "scan %s: value", show(text));
        }

        ok(splits(text, &s), "scan %s: in pieces", show(text));
    }
}


/* several names, of members and of members' members */

typedef struct {
    const char  *text;
    int          status;
    const char  *found;          /* name=text, ... */
} names_row_t;

static const char *const  some[] = { "usage", "response.usage", "stream",
                                     "stream_options", "message.usage" };

static const names_row_t  names[] = {
    { "{\"usage\":{\"a\":1}}", DONE, "0={\"a\":1} " },
    { "{\"stream\":true,\"stream_options\":{ } ,\"x\":0}", DONE,
      "2=true 3={ } " },
    { "{\"stream_options\":null,\"stream\":false,\"stream\":true}", DONE,
      "3=null 2=false 2=true " },
    { "{\"response\":{\"usage\":1,\"x\":{\"usage\":2}},\"usage\":3}", DONE,
      "1=1 0=3 " },
    { "{\"response\":{\"x\":[{\"usage\":1}],\"usage\":2}}", DONE, "1=2 " },
    { "{\"response\":{},\"x\":{\"usage\":1}}", DONE, "" },
    { "{\"response\":1,\"x\":{\"usage\":1}}", DONE, "" },
    { "{\"response\":[{\"usage\":1}]}", DONE, "" },
    { "{\"response\":[[],{\"usage\":1}],\"message\":{\"usage\":2}}", DONE,
      "4=2 " },
    { "{\"response\":{},\"a-name-that-is-longer-than-any-that-is-kept\":"
      "{\"usage\":1}}", DONE, "" },
    { "{\"response\":{\"a-name-that-is-longer-than-any-that-is-kept\":1,"
      "\"usage\":1}}", DONE, "1=1 " },
    { "{\"message\":{\"usage\":1},\"response\":{\"usage\":2}}", DONE,
      "4=1 1=2 " },
    { "{\"usage\":{\"usage\":1,\"response\":{\"usage\":2}}}", DONE,
      "0={\"usage\":1,\"response\":{\"usage\":2}} " },
    { "{\"response.usage\":1,\"usag\":2,\"usages\":3,\"\":4}", DONE, "" },
    { "{\"response\":{\"response\":{\"usage\":1}}}", DONE, "" },
    { "{\"re\\u0073ponse\":{\"us\\u0061ge\":\"x\\ny\"}}", DONE,
      "1=\"x\\ny\" " },
    { "{\"usage\":\"a\",\"usage\":\"b\"", MORE, "0=\"a\" 0=\"b\" " },
    { "{\"response\":{\"usage\":1", MORE, "" },
    { "{\"response\":{\"usage\":1}", MORE, "1=1 " },
    { "{\"usage\":{\"a\":01}}", BAD, "" }
};


static void
test_scan_names(void)
{
    char       found[256];
    char      *p;
    size_t     i;
    uint32_t   k;
    scanner_t  s;
    llm_str_t  text, t;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        text = str(names[i].text);

        start(&s, some, 5, KEPT);
        feed(&s, text, 0, text.len);

        p = found;
        *p = '\0';

        for (k = 0; k < s.scan.nspans; k++) {
            t = llm_json_scan_text(&s.scan, &s.scan.spans[k]);
            p += sprintf(p, "%u=%.*s ", s.scan.spans[k].name, (int) t.len,
                         (char *) t.data);
        }

        is_int(s.scan.status, names[i].status, "names %s: status", show(text));
        ok(strcmp(found, names[i].found) == 0, "names %s: found", show(text));
        ok(splits(text, &s), "names %s: in pieces", show(text));
    }
}


static void
test_scan_many(void)
{
    int         i, good;
    char        text[2048];
    char       *p;
    llm_str_t   s;
    scanner_t   scan;

    p = text;
    *p++ = '{';

    for (i = 0; i < LLM_JSON_SPANS + 4; i++) {
        p += sprintf(p, "%s\"model\":\"%02d\"", i ? "," : "", i);
    }

    *p++ = '}';

    s = (llm_str_t) { (size_t) (p - text), (unsigned char *) text };

    start(&scan, model, 1, KEPT);
    feed(&scan, s, 0, s.len);

    is_int(scan.scan.status, DONE, "many: status");
    is_int(scan.scan.nspans, LLM_JSON_SPANS + 4, "many: all are counted");

    good = 1;

    for (i = 0; i < LLM_JSON_SPANS; i++) {
        good &= scan.scan.spans[i].end - scan.scan.spans[i].start == 4
                && atoi(text + scan.scan.spans[i].start + 1) == i
                && llm_json_scan_text(&scan.scan, &scan.scan.spans[i]).len
                   == 4;
    }

    ok(good, "many: the first are kept");
}


/* values that fit and that do not, one after the other */

static void
test_scan_room(void)
{
    scanner_t  s;
    llm_str_t  text;

    static const char  *model_a = "{\"model\":\"12345678\",\"model\":\"123\","
                                  "\"model\":\"1\",\"model\":\"12\"}";

    text = str(model_a);

    start(&s, model, 1, 8);
    feed(&s, text, 0, text.len);

    is_int(s.scan.nspans, 4, "room: found");
    is_int(s.scan.spans[0].at, LLM_JSON_LOST, "room: too long");
    is_int(llm_json_scan_text(&s.scan, &s.scan.spans[0]).len, 0,
           "room: no text of it");
    ok(same(llm_json_scan_text(&s.scan, &s.scan.spans[1]), "\"123\""),
       "room: the next fits");
    ok(same(llm_json_scan_text(&s.scan, &s.scan.spans[2]), "\"1\""),
       "room: and one behind it");
    is_int(s.scan.spans[3].at, LLM_JSON_LOST, "room: it is full");
    ok(splits(text, &s), "room: in pieces");

    llm_json_scan_init(&s.scan, model, 1, NULL, 0);
    (void) llm_json_scan(&s.scan, text.data, text.len);

    is_int(s.scan.nspans, 4, "no room: found");
    is_int(s.scan.spans[3].at, LLM_JSON_LOST, "no room: nothing is kept");
}


static void
test_scan_end(void)
{
    llm_json_scan_t  s;

    static const char *const  a[] = { "a" };
    static const char *const  empty[] = { "" };

    llm_json_scan_init(&s, a, 1, NULL, 0);

    is_int(llm_json_scan(&s, (unsigned char *) "{\"a\":1}", 7), DONE, "done");
    is_int(llm_json_scan(&s, NULL, 0), DONE, "nothing more");
    is_int(llm_json_scan(&s, (unsigned char *) " \n", 2), DONE, "white space");
    is_int(llm_json_scan(&s, (unsigned char *) "}", 1), BAD, "too much");
    is_int(llm_json_scan(&s, (unsigned char *) "{}", 2), BAD, "stays bad");
    is_int((long long) s.offset, 12, "bytes are counted to the end");
    is_int(s.nspans, 1, "what was found stays");

    llm_json_scan_init(&s, empty, 1, NULL, 0);
    is_int(llm_json_scan(&s, (unsigned char *) "{\"\":1,\"a\":2}", 12), DONE,
           "an empty name");
    is_int(s.nspans, 1, "an empty name is one");
}


int
main(void)
{
    test_valid();
    test_depth();
    test_paths();
    test_cut();
    test_members();
    test_iter();
    test_decode();
    test_escape();
    test_scan();
    test_scan_names();
    test_scan_many();
    test_scan_room();
    test_scan_end();

    return done_testing();
}
