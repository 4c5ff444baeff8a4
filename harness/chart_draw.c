/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chart_data.h"

enum { PATH_MAX_CHART = 2048 };

extern char **environ;

/* Files */

static enum status close_file(FILE *f, const char *path, enum status st, struct err *e)
{
    bool bad = ferror(f) != 0;
    if ((fclose(f) != 0 || bad) && st == ST_OK)
        return fail(e, ST_EIO, "cannot write %s: %s", path, strerror(errno));
    return st;
}

static enum status open_file(FILE **f, char *path, const char *folder, const char *name, const char *ending, struct err *e)
{
    if (snprintf(path, PATH_MAX_CHART, "%s/%s.%s", folder, name, ending) >= PATH_MAX_CHART)
        return fail(e, ST_EUSAGE, "%s: the path is too long", folder);
    *f = fopen(path, "w");
    return *f ? ST_OK : fail(e, ST_EIO, "cannot write %s: %s", path, strerror(errno));
}

static enum status write_files(const char *folder, const struct chart *c, const struct chart_data *d, struct store *s, int64_t run, struct err *e)
{
    char path[PATH_MAX_CHART];
    FILE *f;
    enum status st = open_file(&f, path, folder, c->name, "dat", e);
    if (st != ST_OK)
        return st;
    chart_data_write(f, d);
    st = close_file(f, path, ST_OK, e);
    if (st == ST_OK)
        st = open_file(&f, path, folder, c->name, "gp", e);
    if (st != ST_OK)
        return st;
    return close_file(f, path, chart_script_write(f, c, d, s, run, e), e);
}

/* gnuplot, as a child */

/* The line of gnuplot's complaint that says what and where. */
static enum status complaint(const char *log, const struct chart *c, int status, struct err *e)
{
    char line[512], first[512] = "", told[512] = "";
    FILE *f = fopen(log, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (!*first && *line)
            strcpy(first, line);
        if (strstr(line, "\" line ") && !strstr(line, "warning:"))
            strcpy(told, line);
    }
    if (f)
        fclose(f);
    if (WIFSIGNALED(status))
        return fail(e, WTERMSIG(status) == SIGINT ? ST_EINTERRUPTED : ST_EIO, "chart %s: gnuplot was killed by signal %d (%s)", c->name, WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    return fail(e, ST_EFORMAT, "chart %s: gnuplot failed: %s", c->name, *told ? told : *first ? first : "it said nothing");
}

static int start_gnuplot(pid_t *pid, const char *folder, const char *script, const char *log)
{
    const char *const argv[] = {"gnuplot", "-d", script, NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    if (!(error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) &&
        !(error = posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_TRUNC, 0666)) &&
        !(error = posix_spawn_file_actions_adddup2(&actions, 2, 1)) && !(error = posix_spawn_file_actions_addchdir_np(&actions, folder)))
        error = posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static enum status run_gnuplot(const char *folder, const struct chart *c, struct err *e)
{
    char script[PATH_MAX_CHART], log[PATH_MAX_CHART];
    pid_t pid;
    int status = 0, got;
    snprintf(script, sizeof script, "%.1000s.gp", c->name);
    if (snprintf(log, sizeof log, "%s/log", folder) >= (int)sizeof log)
        return fail(e, ST_EUSAGE, "%s: the path is too long", folder);
    int error = start_gnuplot(&pid, folder, script, log);
    if (error == ENOENT || error == EACCES)
        return fail(e, ST_EUNSUPPORTED, "charts are drawn by gnuplot, which is not there: install Debian's gnuplot-nox (`make deps`)");
    if (error)
        return fail(e, ST_EIO, "cannot start gnuplot: %s", strerror(error));
    while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        ;
    if (got < 0)
        return fail(e, ST_EIO, "cannot wait for gnuplot: %s", strerror(errno));
    return status == 0 ? ST_OK : complaint(log, c, status, e);
}

static const char *const endings[] = {"dat", "gp", "svg", "png"};
enum { ENDINGS = sizeof endings / sizeof *endings };

/* gnuplot exits with 0 also where it drew nothing: each file must be there and hold something. */
static enum status check_pictures(const char *folder, const struct chart *c, struct err *e)
{
    char path[PATH_MAX_CHART];
    struct stat st;
    for (int i = 0; i < ENDINGS; i++) {
        snprintf(path, sizeof path, "%.1500s/%.500s.%s", folder, c->name, endings[i]);
        if (stat(path, &st) != 0 || (st.st_size == 0 && strcmp(endings[i], "dat") != 0))
            return fail(e, ST_EIO, "chart %s: gnuplot wrote no %s; has it the terminals svg and pngcairo (gnuplot-nox has), and is the disk full?", c->name, endings[i]);
    }
    return ST_OK;
}

static enum status move_files(const char *from, const char *to, const struct chart *c, struct err *e)
{
    char old[PATH_MAX_CHART], new[PATH_MAX_CHART];
    for (int i = 0; i < ENDINGS; i++) {
        snprintf(old, sizeof old, "%.1500s/%.500s.%s", from, c->name, endings[i]);
        snprintf(new, sizeof new, "%.1500s/%.500s.%s", to, c->name, endings[i]);
        if (rename(old, new) != 0)
            return fail(e, ST_EIO, "cannot write %s: %s", new, strerror(errno));
    }
    return ST_OK;
}

static void remove_folder(const char *folder, const struct chart *c)
{
    char path[PATH_MAX_CHART];
    for (int i = 0; i < ENDINGS; i++) {
        snprintf(path, sizeof path, "%.1500s/%.500s.%s", folder, c->name, endings[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%.1500s/log", folder);
    unlink(path);
    rmdir(folder);
}

enum status chart_draw(const struct chart *c, struct store *s, int64_t run, const char *folder, struct err *e)
{
    struct chart_data d;
    char work[PATH_MAX_CHART];
    enum status st = chart_data_open(&d, c, s, run, e);
    if (st != ST_OK)
        return st;
    st = make_folder(folder, e);
    /* Within the output folder, so that moving the files out of it stays within one file system. */
    if (st == ST_OK && snprintf(work, sizeof work, "%s/.drawing-XXXXXX", folder) < (int)sizeof work && !mkdtemp(work))
        st = fail(e, ST_EIO, "cannot write into %s: %s", folder, strerror(errno));
    if (st == ST_OK) {
        st = write_files(work, c, &d, s, run, e);
        if (st == ST_OK)
            st = run_gnuplot(work, c, e);
        if (st == ST_OK)
            st = check_pictures(work, c, e);
        if (st == ST_OK)
            st = move_files(work, folder, c, e);
        remove_folder(work, c);
    }
    chart_data_close(&d);
    return st;
}
