/* Prints a page of what is written in Markdown on its standard input, with a library that another part has built. */
#include <cmark.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    static char text[65536];
    size_t length = fread(text, 1, sizeof text, stdin);
    char *html = cmark_markdown_to_html(text, length, CMARK_OPT_DEFAULT);
    printf("<!-- cmark %s -->\n%s", cmark_version_string(), html);
    free(html);
    return 0;
}
