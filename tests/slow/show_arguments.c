// Prints the arguments that Windows hands to a program, in UTF-8, each ended by a zero byte.
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <windows.h>
#include <shellapi.h>

int main(void) {
    int count;
    char text[65536];
    LPWSTR *words = CommandLineToArgvW(GetCommandLineW(), &count);
    _setmode(1, _O_BINARY);
    for (int i = 1; i < count; i++) {
        int size = WideCharToMultiByte(CP_UTF8, 0, words[i], -1, text, sizeof text, NULL, NULL);
        fwrite(text, 1, size, stdout);
    }
    return 0;
}
