/* All parts that are compiled once for each instruction set. A part follows the parts that it uses. */
#ifndef FASTLM_ISA
#include "isa_alone.h"
#endif

#include "class_masks.h"
#include "numbers.h"
#include "whitespace.h"
#include "gpt2.h"
#include "cl100k.h"
#include "o200k.h"
#include "deepseek.h"
