/* SPDX-License-Identifier: Apache-2.0
 * control/control.h - the control socket, as the engine starts it. */
#ifndef FLOWBUS_CONTROL_CONTROL_H
#define FLOWBUS_CONTROL_CONTROL_H

#include "engine/engine.h"

/** Opens the socket named by daemon option `control` and serves it from the engine's loop. */
extern const struct engine_control control_socket;

#endif
