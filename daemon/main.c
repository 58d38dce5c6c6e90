/* SPDX-License-Identifier: Apache-2.0
 * main.c - flowbusd: everything is in the library. */
#include "control/control.h"
#include "engine/engine.h"

int
main(int argc, char **argv)
{
	return engine_main(argc, argv, &control_socket);
}
