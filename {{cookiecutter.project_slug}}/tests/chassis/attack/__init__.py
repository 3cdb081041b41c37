"""All that outsiders, administrators and machines do to a service, at once, beside good sales.

* `attack` puts it together; `python -m tests.chassis.attack --help` runs it as long as you like.
* `sales` are the good ones: when each was accepted, and when it was announced.
* `clients`, `messages` and `outbox` send what has to be refused.
* `causes` are what stops the work for a while; when each began, and when it was over.
* `watch` looks at memory and outputs, `verdict` says what is not as it should be.
"""
