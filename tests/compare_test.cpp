#include "lib/compare/compare.h"
int main() {}
