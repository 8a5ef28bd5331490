
/*
 * What the readers of JSON share: white space, and the inside of a string
 * byte by byte, so that it may be split anywhere.
 */


#ifndef LLM_JSON_STRING_H_INCLUDED
#define LLM_JSON_STRING_H_INCLUDED


#include "json.h"


#define LLM_JSON_STEP  8           /* bytes that one byte may decode to */


typedef enum {
    LLM_JSON_PLAIN = 0,
    LLM_JSON_ESCAPE,               /* behind a backslash */
    LLM_JSON_HEX,                  /* behind \u, and so many digits */
    LLM_JSON_HEX_END = LLM_JSON_HEX + 4,
    LLM_JSON_CLOSED
} llm_json_string_e;


/*
 * Reads the next byte behind the opening quote, and writes what became
 * certain by it; returns how many bytes these are, or -1 if the string is
 * malformed.  The closing quote makes the state LLM_JSON_CLOSED.  A string
 * starts zeroed.
 */
int llm_json_string(llm_json_string_t *s, unsigned char c, unsigned char *out);

/* llm_json_equals() for a text of so many bytes. */
int llm_json_equals_n(llm_str_t value, const char *text, size_t len);

/* Is the text UTF-8?  Surrogates and overlong forms are not. */
int llm_json_utf8(llm_str_t text);


/* is a string worth to be compared with the text?  Most differ at once */

static inline int
llm_json_alike(llm_str_t value, const char *text)
{
    return value.len >= 2
           && (value.data[1] == (unsigned char) *text || value.data[1] == '\\'
               || *text == '\0');
}


static inline int
llm_json_space(unsigned char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}


/* what a letter behind a backslash stands for, but u; 0 if none may be there */

static inline unsigned char
llm_json_unescape(unsigned char c)
{
    switch (c) {

    case '"':
    case '\\':
    case '/':
        return c;

    case 'b':
        return '\b';

    case 'f':
        return '\f';

    case 'n':
        return '\n';

    case 'r':
        return '\r';

    case 't':
        return '\t';

    default:
        return 0;
    }
}


#endif /* LLM_JSON_STRING_H_INCLUDED */
