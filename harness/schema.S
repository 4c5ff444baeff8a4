/* SPDX-License-Identifier: GPL-3.0-or-later */
/* results/schema.sql inside the program: char schema_sql[], ended by a zero byte. Assembled from the repository's root. */
    .section .rodata
    .global schema_sql
    .type schema_sql, %object
    .balign 16
schema_sql:
    .incbin "results/schema.sql"
    .byte 0
    .size schema_sql, . - schema_sql

    .section .note.GNU-stack, "", %progbits
