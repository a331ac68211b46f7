macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(ASKED "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(NOT "${ASKED_UNPARSED_ARGUMENTS}" STREQUAL "")
    message(FATAL_ERROR "slicerMacroBuildScriptedModule does not know: ${ASKED_UNPARSED_ARGUMENTS}")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/asked.txt
    "module|${CMAKE_CURRENT_SOURCE_DIR}|${ASKED_NAME}|${ASKED_WITH_SUBDIR}|${ASKED_WITH_GENERIC_TESTS}|${ASKED_SCRIPTS}|${ASKED_RESOURCES}\n")
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(ASKED "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  file(APPEND ${CMAKE_BINARY_DIR}/asked.txt "test|${CMAKE_CURRENT_SOURCE_DIR}|${ASKED_SCRIPT}\n")
endmacro()
