# What codegen/ needs beyond a layer's usual: LLVM and clang as libraries, and the text of the header that
# generated code includes, kept inside the program so that it needs no source tree at run time.
if(NOT TARGET shardc_codegen)
  return()
endif()

set(rt_header ${CMAKE_SOURCE_DIR}/runtime/shardc_rt.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${rt_header})
file(READ ${rt_header} SHARDC_RT_HEADER_TEXT)
configure_file(${CMAKE_SOURCE_DIR}/cmake/runtime_header.cpp.in ${CMAKE_BINARY_DIR}/runtime_header.cpp @ONLY)

target_sources(shardc_codegen PRIVATE ${CMAKE_BINARY_DIR}/runtime_header.cpp)
target_include_directories(shardc_codegen SYSTEM PRIVATE ${LLVM_INCLUDE_DIRS} ${CLANG_INCLUDE_DIRS})
target_link_libraries(shardc_codegen PRIVATE clang-cpp LLVM ${CMAKE_DL_LIBS})  # the shared ones, and only those

# How `shardc compile` links programs: the compiler and flags (sanitizers) of this build, and what the runtime's
# archive needs. libmvec serves the vectorised loops of generated code. The run path holds on to the OpenBLAS of
# this build: its variants share a name, and the serial one is wrong for ranks that are threads.
list(JOIN MPI_LDFLAGS " " mpi)
list(JOIN OPENBLAS_LDFLAGS " " openblas)
foreach(directory ${OPENBLAS_LIBRARY_DIRS})
  string(APPEND openblas " -Wl,-rpath,${directory}")
endforeach()
set(mvec)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
  set(mvec -lmvec)
endif()
set_property(
  SOURCE ${CMAKE_SOURCE_DIR}/codegen/link.cpp
  APPEND PROPERTY COMPILE_DEFINITIONS SHARDC_CXX="${CMAKE_CXX_COMPILER}" SHARDC_LINK_FLAGS="${CMAKE_CXX_FLAGS}"
                  SHARDC_LINK_LIBRARIES="${mpi} ${openblas} -lz ${mvec} -lm -pthread")
