/* SPDX-License-Identifier: Apache-2.0
 * control/control.h - the control socket (DESIGN 6; protocol in include/flowbus/ctl.h).
 *
 * Runs in the main thread on the engine's loop. main.c hands `control_socket` to engine_main. */
#ifndef FLOWBUS_CONTROL_CONTROL_H
#define FLOWBUS_CONTROL_CONTROL_H

#include "engine/engine.h"

extern const struct engine_control control_socket;

#endif
