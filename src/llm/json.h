
/*
 * JSON as spans of bytes: nothing is built, nothing is copied.
 *
 * Two readers.  The functions over a whole text find members in a short
 * document (an error body, one event).  The scanner finds members of some
 * names in a document that comes in pieces of any size, so that a value can be
 * read, or replaced by splicing.
 */


#ifndef LLM_JSON_H_INCLUDED
#define LLM_JSON_H_INCLUDED


#include "llm.h"


#define LLM_JSON_DEPTH    512      /* deeper documents are not well-formed */
#define LLM_JSON_SPANS    16       /* members found that are kept */
#define LLM_JSON_NAMES    8        /* that can be looked for */
#define LLM_JSON_NAME     32       /* bytes of one of them, at most */


/*
 * The value of a top-level member of an object, as it stands in the text
 * (strings with their quotes).  The first of that name counts.  A text that
 * is cut off is read as far as it goes; the value then may be cut, too.
 * Returns 1 if found, else 0.
 */
int llm_json_member(llm_str_t object, const char *name, llm_str_t *value);

/*
 * The same for n names in one pass; what isn't found becomes an empty value.
 * Returns how many were found.
 */
unsigned llm_json_members(llm_str_t object, const char *const *names,
    llm_str_t *values, unsigned n);

/*
 * The same along a path such as "error.code" or "choices.0.delta"; a number
 * is an array's index.
 */
int llm_json_path(llm_str_t text, const char *path, llm_str_t *value);

/*
 * Walks over an object's members or an array's elements.  llm_json_next()
 * returns 0 behind the last one, and where the text is cut or malformed; keys
 * are strings as they stand, and empty in an array.
 */

typedef struct {
    const unsigned char  *pos;
    const unsigned char  *last;
    unsigned              object:1;
    unsigned              started:1;
} llm_json_iter_t;

void llm_json_iter(llm_json_iter_t *it, llm_str_t value);
int llm_json_next(llm_json_iter_t *it, llm_str_t *key, llm_str_t *value);

/* The text without the white space around it. */
llm_str_t llm_json_trim(llm_str_t text);

/* Is the text one complete, well-formed JSON value (RFC 8259), in UTF-8? */
int llm_json_valid(llm_str_t text);

/* First byte's kind: '{', '[', '"', '0' (number), 't', 'f', 'n', or 0. */
int llm_json_kind(llm_str_t value);

/* Is the value a string that decodes to exactly this text? */
int llm_json_equals(llm_str_t value, const char *text);

/*
 * Decodes a string value into at most size bytes of UTF-8; returns the length,
 * or (size_t) -1 if it is no string, is cut, is malformed or does not fit.
 */
size_t llm_json_decode(llm_str_t value, unsigned char *buf, size_t size);

/* The same as far as it goes: a longer, cut or malformed string is cut. */
size_t llm_json_prefix(llm_str_t value, unsigned char *buf, size_t size);

/*
 * Writes the bytes as the inside of a JSON string (no quotes).  With buf ==
 * NULL only returns the length that would be written.  Bytes that are not
 * UTF-8 become U+FFFD.
 */
size_t llm_json_escape(unsigned char *buf, llm_str_t text);


/* A string being decoded, byte by byte. */

typedef struct {
    unsigned              state;
    uint32_t              unicode;        /* of the digits so far */
    uint32_t              high;           /* half of a surrogate pair, or 0 */
} llm_json_string_t;


typedef enum {
    LLM_JSON_MORE = 0,             /* so far well, wants more bytes */
    LLM_JSON_DONE,                 /* one complete object was read */
    LLM_JSON_BAD                   /* not an object, or malformed */
} llm_json_status_e;

#define LLM_JSON_LOST  ((uint32_t) -1)

typedef struct {
    uint64_t              start;   /* offset of the value's first byte */
    uint64_t              end;     /* offset behind its last */
    uint32_t              name;    /* which one, as they were given */
    uint32_t              at;      /* where its text is kept, or _LOST */
} llm_json_span_t;

typedef struct {
    uint64_t              offset;  /* bytes fed so far */
    llm_json_status_e     status;

    uint32_t              nspans;  /* values found, also those not kept */
    llm_json_span_t       spans[LLM_JSON_SPANS];

    /* what follows is the scanner's own */

    const char *const    *names;
    unsigned              nnames;
    unsigned char        *buf;     /* the caller's, for the values' texts */
    size_t                size;
    size_t                len;

    const unsigned char  *piece;   /* what is being read */
    const unsigned char  *from;    /* of it, what belongs to the value */
    llm_json_span_t       span;    /* the value being read */
    uint32_t              level;   /* its depth, 0: there is none */
    uint32_t              hit;     /* the next value's name, from 1, or 0 */
    unsigned              within;  /* bits of names that go on in this object */

    unsigned char         stack[LLM_JSON_DEPTH / 8];  /* 1: object */
    uint32_t              depth;
    unsigned              state;
    unsigned              literal; /* progress inside a literal or number */
    llm_json_string_t     text;    /* the string being read */
    unsigned              in_key:1;
    unsigned              listens:1;      /* to the key's text */
    unsigned              key_len;
    unsigned char         key[LLM_JSON_NAME];
} llm_json_scan_t;

/*
 * names: up to LLM_JSON_NAMES of top-level members, such as "usage", or of
 * members of objects that these are, such as "response.usage"; kept by
 * reference.  buf keeps the values' texts as they stand, as far as they fit in
 * whole; NULL: none.
 */
void llm_json_scan_init(llm_json_scan_t *s, const char *const *names,
    unsigned nnames, unsigned char *buf, size_t size);

/*
 * Reads the next piece.  O(len), whatever the pieces' sizes.  A member's name
 * is compared decoded.  White space behind the object is fine, anything else
 * is LLM_JSON_BAD.
 */
llm_json_status_e llm_json_scan(llm_json_scan_t *s, const unsigned char *data,
    size_t len);

/* A value's text, empty if it was not kept. */
llm_str_t llm_json_scan_text(const llm_json_scan_t *s,
    const llm_json_span_t *span);


#endif /* LLM_JSON_H_INCLUDED */
